WITH locks AS MATERIALIZED (SELECT * FROM pg_locks),
me AS (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()),
waits AS MATERIALIZED (
  SELECT DISTINCT ON (l.pid) l.*, pg_blocking_pids(l.pid) AS blocked_by
  FROM locks l WHERE NOT l.granted AND l.pid IS NOT NULL ORDER BY l.pid LIMIT 300
)
SELECT coalesce(json_agg(e), '[]') FROM (
  SELECT w.pid,
         greatest(extract(epoch FROM clock_timestamp() - coalesce({waitstart}, a.query_start)), 0) AS waiting_secs,
         w.locktype, w.mode, n.nspname || '.' || c.relname AS relation, a.datname AS database, w.blocked_by,
         CASE WHEN 0 = ANY (w.blocked_by) THEN (
           SELECT p.gid FROM pg_prepared_xacts p
           WHERE (w.locktype = 'transactionid' AND p.transaction = w.transactionid)
              OR EXISTS (SELECT FROM locks h WHERE h.pid IS NULL AND h.granted AND h.relation = w.relation
                           AND h.database = w.database AND h.virtualtransaction = '-1/' || p.transaction::text)
           ORDER BY p.prepared LIMIT 1) END AS blocked_by_gid
  FROM waits w
  LEFT JOIN pg_stat_activity a ON a.pid = w.pid
  -- Who waits for a transaction usually holds the lock on the row; failing that, the table that both sides work on.
  LEFT JOIN LATERAL (
    SELECT coalesce(
      (SELECT w.relation WHERE w.database = (SELECT oid FROM me)),
      (SELECT t.relation FROM locks t
       WHERE t.pid = w.pid AND t.locktype = 'tuple' AND t.granted AND t.database = (SELECT oid FROM me) LIMIT 1),
      (SELECT m.relation FROM locks m
       JOIN locks b ON b.relation = m.relation AND b.database = m.database AND b.granted AND b.locktype = 'relation'
       JOIN pg_class k ON k.oid = m.relation AND k.relkind IN ('r', 'p')
       WHERE m.pid = w.pid AND m.granted AND m.locktype = 'relation' AND m.database = (SELECT oid FROM me)
         AND m.mode IN ('RowExclusiveLock', 'RowShareLock') AND b.mode IN ('RowExclusiveLock', 'RowShareLock')
         AND (b.pid = ANY (w.blocked_by) OR (b.pid IS NULL AND 0 = ANY (w.blocked_by)))
       ORDER BY m.mode = 'RowExclusiveLock' DESC, b.mode = 'RowExclusiveLock' DESC, m.relation LIMIT 1)) AS oid
  ) r ON w.locktype IN ('relation', 'tuple', 'transactionid', 'page', 'extend')
  LEFT JOIN pg_class c ON c.oid = r.oid
  LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE cardinality(w.blocked_by) > 0) e
