SELECT coalesce(json_agg(s), '[]') FROM (
  SELECT a.pid, a.leader_pid, a.backend_type, a.usename AS "user", a.datname AS database,
         coalesce(a.application_name, '') AS application, host(a.client_addr) AS client,
         a.state, a.wait_event_type, a.wait_event,
         to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS backend_start,
         to_char(a.query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS query_start,
         extract(epoch FROM n.now - a.backend_start) AS backend_secs,
         extract(epoch FROM n.now - a.xact_start) AS xact_secs,
         extract(epoch FROM n.now - a.query_start) AS query_secs,
         extract(epoch FROM n.now - a.state_change) AS state_secs,
         a.backend_xid IS NOT NULL AS has_writes,
         age(a.backend_xmin) AS xmin_age,
         -- What follows the word may be one.
         left(regexp_replace(coalesce(a.query, ''), '(password|passwd|secret)\M.*', '\1 ***', 'is'), 200) AS query
  FROM pg_stat_activity a, (SELECT clock_timestamp() AS now) n
  WHERE a.application_name IS DISTINCT FROM '{application}'
    AND (a.backend_type IS NULL OR a.backend_type IN ('client backend', 'autovacuum worker', 'parallel worker', 'walsender',
                                                      'logical replication worker', 'background worker'))
  ORDER BY a.state = 'idle', a.xact_start NULLS LAST, a.pid
  LIMIT 500) s
