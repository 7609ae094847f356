SELECT json_build_object(
  'timed', checkpoints_timed, 'requested', checkpoints_req,
  'write_ms', checkpoint_write_time, 'sync_ms', checkpoint_sync_time,
  'buffers_checkpoint', buffers_checkpoint, 'buffers_clean', buffers_clean, 'maxwritten_clean', maxwritten_clean,
  'buffers_backend', buffers_backend,
  'stats_reset_secs', extract(epoch FROM clock_timestamp() - stats_reset))
FROM pg_stat_bgwriter
