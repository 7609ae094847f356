SELECT json_build_object(
  'paused', pg_is_wal_replay_paused(),
  'replay_lag_bytes', greatest(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint,
  'replayed_xact_secs', extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()),
  'receiver', (SELECT coalesce(r.status, 'running') FROM pg_stat_wal_receiver r WHERE r.pid IS NOT NULL),
  'receiver_silent_secs', (SELECT extract(epoch FROM clock_timestamp() - r.last_msg_receipt_time) FROM pg_stat_wal_receiver r),
  'sender', (SELECT r.sender_host || ':' || r.sender_port FROM pg_stat_wal_receiver r),
  'slot', (SELECT r.slot_name FROM pg_stat_wal_receiver r),
  'has_primary', coalesce((SELECT s.setting <> '' FROM pg_settings s WHERE s.name = 'primary_conninfo'), false),
  'apply_delay_secs', coalesce((SELECT s.setting::float8 / 1000 FROM pg_settings s WHERE s.name = 'recovery_min_apply_delay'), 0))
