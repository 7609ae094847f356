SELECT json_build_object(
  'version_num', current_setting('server_version_num')::int,
  'version', split_part(current_setting('server_version'), ' ', 1),
  'uptime_secs', extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()),
  'config_loaded_secs', extract(epoch FROM clock_timestamp() - pg_conf_load_time()),
  'in_recovery', pg_is_in_recovery(),
  'database', current_database(),
  'user', current_user,
  'superuser', r.rolsuper,
  'reads_all_stats', r.rolsuper OR pg_has_role('pg_read_all_stats', 'USAGE'),
  'may_signal', r.rolsuper OR pg_has_role('pg_signal_backend', 'USAGE'),
  -- Counters that were never reset count since initdb, whose time is in the upper half of the system identifier.
  'stats_reset_secs', extract(epoch FROM clock_timestamp() - coalesce(
    (SELECT s.stats_reset FROM pg_stat_database s WHERE s.datname = current_database()),
    (SELECT to_timestamp(c.system_identifier >> 32) FROM pg_control_system() c))),
  'read_only_by', (
    SELECT CASE WHEN s.setrole <> 0 THEN 'ALTER ROLE' ELSE 'ALTER DATABASE' END
    FROM pg_db_role_setting s, unnest(s.setconfig) AS c(entry)
    WHERE c.entry IN ('default_transaction_read_only=on', 'default_transaction_read_only=true')
      AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
      AND (s.setrole = 0 OR s.setrole = r.oid)
    LIMIT 1),
  'statements_schema', (
    SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_stat_statements'))
FROM pg_roles r WHERE r.rolname = current_user
