SELECT json_build_object(
  'archived', a.archived_count, 'failed', a.failed_count,
  'archived_secs', extract(epoch FROM clock_timestamp() - a.last_archived_time),
  'failed_secs', extract(epoch FROM clock_timestamp() - a.last_failed_time),
  'failed_segment', a.last_failed_wal,
  'ready', {ready}, 'oldest_ready_secs', {oldest})
FROM pg_stat_archiver a
