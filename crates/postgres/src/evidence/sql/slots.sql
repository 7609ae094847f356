SELECT coalesce(json_agg(r), '[]') FROM (
  SELECT s.slot_name AS name, s.slot_type AS kind, s.database, s.active, s.temporary,
         greatest(pg_wal_lsn_diff(w.lsn, s.restart_lsn), 0)::bigint AS retained_bytes,
         s.wal_status, s.safe_wal_size AS safe_bytes, age(s.xmin) AS xmin_age, age(s.catalog_xmin) AS catalog_xmin_age,
         {inactive} AS inactive_secs
  FROM pg_replication_slots s,
       (SELECT CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                    ELSE pg_current_wal_lsn() END AS lsn) w
  ORDER BY s.slot_name LIMIT 200) r
