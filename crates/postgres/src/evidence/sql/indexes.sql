WITH x AS MATERIALIZED (
  SELECT i.*, n.nspname, t.relname AS table_name, c.relname AS index_name, c.relam,
         c.relpages::bigint * current_setting('block_size')::int AS bytes,
         EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AS backs_constraint
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
  JOIN pg_class t ON t.oid = i.indrelid AND t.relpersistence <> 't'
  JOIN pg_namespace n ON n.oid = t.relnamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
)
SELECT json_build_object(
  'invalid', (
    SELECT coalesce(json_agg(r), '[]') FROM (
      SELECT nspname AS schema, table_name AS "table", index_name AS name, bytes, 0 AS scans, 0 AS table_writes
      FROM x WHERE NOT indisvalid
        -- Invalid while it is being built is as it should be.
        AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = x.indrelid)
      ORDER BY bytes DESC LIMIT 20) r),
  'unused', (
    SELECT coalesce(json_agg(r), '[]') FROM (
      SELECT nspname AS schema, table_name AS "table", index_name AS name, bytes, 0 AS scans,
             pg_stat_get_tuples_inserted(indrelid) + pg_stat_get_tuples_updated(indrelid) + pg_stat_get_tuples_deleted(indrelid) AS table_writes
      FROM x WHERE indisvalid AND NOT indisunique AND NOT backs_constraint AND NOT indisreplident
        AND pg_stat_get_numscans(indexrelid) = 0
      ORDER BY bytes DESC LIMIT 20) r),
  'duplicate', (
    SELECT coalesce(json_agg(r), '[]') FROM (
      SELECT nspname AS schema, table_name AS "table", names[1] AS keep, names[2] AS drop, least_bytes AS bytes FROM (
        SELECT nspname, table_name, min(bytes) AS least_bytes,
               array_agg(index_name ORDER BY backs_constraint DESC, indisunique DESC, indexrelid) AS names,
               array_agg(backs_constraint ORDER BY backs_constraint DESC, indisunique DESC, indexrelid) AS backed
        FROM x WHERE indisvalid
        GROUP BY nspname, table_name, indrelid, relam, indnkeyatts, indkey::text, indclass::text, indcollation::text, indoption::text,
                 coalesce(indexprs::text, ''), coalesce(indpred::text, '')
        HAVING count(*) > 1) g
      WHERE NOT backed[2]
      ORDER BY least_bytes DESC LIMIT 20) r),
  'unindexed_foreign_keys', (
    SELECT coalesce(json_agg(r), '[]') FROM (
      SELECT n.nspname AS schema, t.relname AS "table", k.conname AS constraint,
             (SELECT array_agg(a.attname ORDER BY u.at) FROM unnest(k.conkey) WITH ORDINALITY AS u(num, at)
              JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num) AS columns,
             f.relname AS "references", greatest(t.reltuples, pg_stat_get_live_tuples(t.oid)) AS rows,
             pg_stat_get_tuples_deleted(f.oid) + pg_stat_get_tuples_updated(f.oid) AS referenced_writes
      FROM pg_constraint k
      JOIN pg_class t ON t.oid = k.conrelid AND t.relkind = 'r'
      JOIN pg_namespace n ON n.oid = t.relnamespace
      JOIN pg_class f ON f.oid = k.confrelid
      WHERE k.contype = 'f'
        AND NOT EXISTS (
          SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
            AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
      ORDER BY 6 DESC LIMIT 20) r))
