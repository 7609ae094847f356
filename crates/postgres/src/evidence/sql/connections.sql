WITH a AS MATERIALIZED (
  SELECT datname, usename, application_name, state, wait_event_type, state_change
  FROM pg_stat_activity
  -- Without the right to see it the kind is null; sessions with a database are then taken for clients.
  WHERE backend_type = 'client backend' OR (backend_type IS NULL AND datid IS NOT NULL)
)
SELECT json_build_object(
  'max', current_setting('max_connections')::int,
  'superuser_reserved', current_setting('superuser_reserved_connections')::int,
  'reserved', coalesce(current_setting('reserved_connections', true), '0')::int,
  'total', (SELECT count(*) FROM a),
  'own', (SELECT count(*) FROM a WHERE application_name = '{application}'),
  'active', (SELECT count(*) FROM a WHERE state = 'active' AND application_name <> '{application}'),
  'idle', (SELECT count(*) FROM a WHERE state = 'idle' AND application_name <> '{application}'),
  'idle_in_transaction', (SELECT count(*) FROM a WHERE state LIKE 'idle in transaction%'),
  'lock_waiting', (SELECT count(*) FROM a WHERE wait_event_type = 'Lock'),
  'idle_over_5_min', (SELECT count(*) FROM a WHERE state = 'idle' AND state_change < clock_timestamp() - interval '5 min'),
  'groups', (
    SELECT coalesce(json_agg(g), '[]') FROM (
      SELECT usename AS "user", datname AS database, coalesce(application_name, '') AS application, state, count(*) AS count
      FROM a WHERE application_name IS DISTINCT FROM '{application}'
      GROUP BY 1, 2, 3, 4 ORDER BY count(*) DESC, 1, 2, 3, 4 LIMIT 8) g),
  'limits', (
    SELECT coalesce(json_agg(l), '[]') FROM (
      SELECT 'role' AS kind, r.rolname AS name, r.rolconnlimit AS "limit",
             (SELECT count(*) FROM a WHERE a.usename = r.rolname) AS used
      FROM pg_roles r WHERE r.rolconnlimit > 0 AND NOT r.rolsuper
      UNION ALL
      SELECT 'database', d.datname, d.datconnlimit, (SELECT count(*) FROM a WHERE a.datname = d.datname)
      FROM pg_database d WHERE d.datconnlimit > 0) l))
