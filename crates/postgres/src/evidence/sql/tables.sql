WITH locked AS MATERIALIZED (
  -- To ask for the size of a table that somebody locks (or waits to lock) against everybody is to wait in line.
  SELECT coalesce(i.indrelid, l.relation) AS oid
  FROM pg_locks l LEFT JOIN pg_index i ON i.indexrelid = l.relation
  WHERE l.mode = 'AccessExclusiveLock' AND l.locktype = 'relation'
),
t AS MATERIALIZED (
  SELECT c.oid, n.nspname, c.relname, c.relpages, c.reltuples, c.reloptions, age(c.relfrozenxid) AS xid_age,
         pg_stat_get_live_tuples(c.oid) AS live, pg_stat_get_dead_tuples(c.oid) AS dead,
         pg_stat_get_mod_since_analyze(c.oid) AS changed,
         pg_stat_get_numscans(c.oid) AS seq_scans, pg_stat_get_tuples_returned(c.oid) AS seq_rows
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
),
worst AS (
  (SELECT oid FROM t ORDER BY dead DESC LIMIT 20) UNION (SELECT oid FROM t ORDER BY changed DESC LIMIT 20)
  UNION (SELECT oid FROM t ORDER BY xid_age DESC LIMIT 5) UNION (SELECT oid FROM t ORDER BY seq_rows DESC LIMIT 20)
  UNION (SELECT oid FROM t ORDER BY relpages DESC LIMIT 20)
  UNION (SELECT oid FROM t WHERE dead >= 1000 AND dead > live / 4 ORDER BY dead::float8 / (live + dead) DESC LIMIT 20)
)
SELECT coalesce(json_agg(r), '[]') FROM (
  SELECT t.nspname AS schema, t.relname AS name,
         s.heap AS heap_bytes, s.total AS total_bytes,
         t.live, t.dead, t.changed AS changed_since_analyze, t.reltuples AS planner_rows, t.xid_age,
         t.seq_scans, t.seq_rows,
         coalesce((SELECT sum(pg_stat_get_numscans(i.indexrelid)) FROM pg_index i WHERE i.indrelid = t.oid), 0)::bigint AS index_scans,
         extract(epoch FROM clock_timestamp() - greatest(pg_stat_get_last_vacuum_time(t.oid), pg_stat_get_last_autovacuum_time(t.oid))) AS vacuum_secs,
         extract(epoch FROM clock_timestamp() - greatest(pg_stat_get_last_analyze_time(t.oid), pg_stat_get_last_autoanalyze_time(t.oid))) AS analyze_secs,
         (SELECT o.option_value::boolean FROM pg_options_to_table(t.reloptions) o WHERE o.option_name = 'autovacuum_enabled') AS autovacuum_enabled,
         (SELECT o.option_value::float8 FROM pg_options_to_table(t.reloptions) o WHERE o.option_name = 'autovacuum_vacuum_threshold') AS vacuum_threshold,
         (SELECT o.option_value::float8 FROM pg_options_to_table(t.reloptions) o WHERE o.option_name = 'autovacuum_vacuum_scale_factor') AS vacuum_scale_factor,
         (SELECT o.option_value::float8 FROM pg_options_to_table(t.reloptions) o WHERE o.option_name = 'fillfactor') AS fillfactor,
         -- A width that some columns are missing from would make a healthy table look bloated.
         (SELECT CASE WHEN count(*) = (SELECT count(*) FROM pg_attribute k WHERE k.attrelid = t.oid AND k.attnum > 0 AND NOT k.attisdropped)
                      THEN sum((1 - p.null_frac) * p.avg_width)::float8 END
          FROM pg_stats p
          WHERE p.schemaname = t.nspname AND p.tablename = t.relname AND NOT p.inherited) AS row_bytes,
         EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.relid = t.oid AND v.datname = current_database()) AS being_vacuumed
  FROM t JOIN worst USING (oid)
  CROSS JOIN LATERAL (
    SELECT CASE WHEN t.oid IN (SELECT l.oid FROM locked l WHERE l.oid IS NOT NULL)
                THEN t.relpages::bigint * current_setting('block_size')::int ELSE pg_relation_size(t.oid) END AS heap,
           CASE WHEN t.oid IN (SELECT l.oid FROM locked l WHERE l.oid IS NOT NULL)
                THEN t.relpages::bigint * current_setting('block_size')::int ELSE pg_total_relation_size(t.oid) END AS total
  ) s
  WHERE s.heap IS NOT NULL) r
