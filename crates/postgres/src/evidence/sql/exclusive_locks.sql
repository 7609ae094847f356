SELECT coalesce(json_agg(e), '[]') FROM (
  SELECT l.pid, n.nspname || '.' || c.relname AS relation
  FROM pg_locks l
  JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
  JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'm')
  JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND l.locktype = 'relation' AND l.pid IS NOT NULL
    AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema') AND n.nspname NOT LIKE 'pg\_temp%'
  ORDER BY l.pid, 2 LIMIT 100) e
