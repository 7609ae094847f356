SELECT coalesce(json_agg(d), '[]') FROM (
  SELECT d.datname AS name, d.datallowconn AS allows_connections,
         age(d.datfrozenxid) AS xid_age, mxid_age(d.datminmxid) AS mxid_age,
         coalesce(s.xact_commit, 0) AS commits, coalesce(s.xact_rollback, 0) AS rollbacks,
         coalesce(s.blks_read, 0) AS blocks_read, coalesce(s.blks_hit, 0) AS blocks_hit,
         coalesce(s.blk_read_time, 0) AS block_read_ms,
         coalesce(s.temp_files, 0) AS temp_files, coalesce(s.temp_bytes, 0) AS temp_bytes,
         coalesce(s.deadlocks, 0) AS deadlocks, coalesce(s.conflicts, 0) AS conflicts, s.checksum_failures,
         extract(epoch FROM clock_timestamp() - coalesce(s.stats_reset, i.made)) AS stats_reset_secs,
         {collation} AS collation_versions
  FROM pg_database d
  LEFT JOIN pg_stat_database s ON s.datid = d.oid
  CROSS JOIN (SELECT to_timestamp(c.system_identifier >> 32) AS made FROM pg_control_system() c) i
  ORDER BY age(d.datfrozenxid) DESC LIMIT 500) d
