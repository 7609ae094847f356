SELECT json_object_agg(s.name, json_build_object(
  'value', CASE WHEN s.name LIKE '%\_command' THEN split_part(s.setting, ' ', 1) ELSE s.setting END,
  'unit', s.unit, 'source', s.source,
  'boot_value', s.boot_val, 'pending_restart', s.pending_restart))
FROM pg_settings s
WHERE s.name !~ '(password|passphrase|conninfo|secret|_key)'
  AND s.source NOT IN ('client', 'session')
  AND (s.pending_restart OR s.source NOT IN ('default', 'override') OR s.name IN (
    'archive_command', 'archive_library', 'archive_mode', 'autovacuum', 'autovacuum_freeze_max_age', 'autovacuum_max_workers',
    'autovacuum_multixact_freeze_max_age', 'autovacuum_naptime', 'autovacuum_vacuum_cost_delay',
    'autovacuum_vacuum_scale_factor', 'autovacuum_vacuum_threshold', 'bgwriter_lru_maxpages', 'block_size',
    'checkpoint_timeout', 'data_checksums', 'deadlock_timeout', 'fsync', 'full_page_writes', 'hot_standby_feedback',
    'idle_in_transaction_session_timeout', 'ignore_checksum_failure', 'ignore_system_indexes', 'logging_collector',
    'maintenance_work_mem', 'max_connections', 'max_slot_wal_keep_size', 'max_wal_size', 'shared_buffers',
    'superuser_reserved_connections', 'synchronous_commit', 'synchronous_standby_names', 'track_counts',
    'track_io_timing', 'wal_keep_size', 'wal_level', 'work_mem', 'zero_damaged_pages'))
