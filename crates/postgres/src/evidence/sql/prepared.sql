SELECT coalesce(json_agg(p), '[]') FROM (
  SELECT gid, owner, database, greatest(extract(epoch FROM clock_timestamp() - prepared), 0) AS age_secs,
         age(transaction) AS xid_age
  FROM pg_prepared_xacts ORDER BY prepared LIMIT 100) p
