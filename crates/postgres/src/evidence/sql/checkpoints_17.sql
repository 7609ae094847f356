SELECT json_build_object(
  'timed', c.num_timed, 'requested', c.num_requested,
  'write_ms', c.write_time, 'sync_ms', c.sync_time,
  'buffers_checkpoint', c.buffers_written, 'buffers_clean', b.buffers_clean, 'maxwritten_clean', b.maxwritten_clean,
  'buffers_backend', NULL,
  'stats_reset_secs', extract(epoch FROM clock_timestamp() - c.stats_reset))
FROM pg_stat_checkpointer c, pg_stat_bgwriter b
