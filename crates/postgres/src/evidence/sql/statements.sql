SELECT coalesce(json_agg(r), '[]') FROM (
  SELECT left(regexp_replace(coalesce(s.query, ''), '(password|passwd|secret)\M.*', '\1 ***', 'is'), 200) AS query,
         s.calls, s.total_exec_time AS total_ms, s.mean_exec_time AS mean_ms,
         s.total_exec_time / greatest(sum(s.total_exec_time) OVER (), 0.001) AS share,
         s.temp_blks_written * current_setting('block_size')::bigint AS temp_bytes
  FROM {schema}.pg_stat_statements s
  WHERE s.dbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  ORDER BY s.total_exec_time DESC LIMIT 20) r
