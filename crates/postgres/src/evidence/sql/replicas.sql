SELECT coalesce(json_agg(r), '[]') FROM (
  SELECT s.pid, coalesce(s.application_name, '') AS application, host(s.client_addr) AS client, s.state, s.sync_state,
         greatest(pg_wal_lsn_diff(w.lsn, s.sent_lsn), 0)::bigint AS send_lag_bytes,
         greatest(pg_wal_lsn_diff(s.sent_lsn, s.flush_lsn), 0)::bigint AS flush_lag_bytes,
         greatest(pg_wal_lsn_diff(s.flush_lsn, s.replay_lsn), 0)::bigint AS replay_lag_bytes,
         extract(epoch FROM s.replay_lag) AS replay_lag_secs
  FROM pg_stat_replication s,
       (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END AS lsn) w
  ORDER BY s.pid LIMIT 100) r
