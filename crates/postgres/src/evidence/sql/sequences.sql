SELECT coalesce(json_agg(r), '[]') FROM (
  SELECT q.schema, q.name, q.last, q.max, q.start, q.increment, q.cycles, q."column", q.limited_by_column FROM (
    SELECT n.nspname AS schema, c.relname AS name, pg_sequence_last_value(s.seqrelid) AS last,
           least(s.seqmax, o.max) AS max, s.seqstart AS start, s.seqincrement AS increment, s.seqcycle AS cycles,
           o."column", coalesce(o.max < s.seqmax, false) AS limited_by_column
    FROM pg_sequence s
    JOIN pg_class c ON c.oid = s.seqrelid AND c.relpersistence <> 't'
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN LATERAL (
      SELECT t.relname || '.' || a.attname AS "column",
             CASE a.atttypid WHEN 21 THEN 32767::bigint WHEN 23 THEN 2147483647::bigint END AS max
      FROM pg_depend d
      JOIN pg_class t ON t.oid = d.refobjid
      JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
      WHERE d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.refclassid = 'pg_class'::regclass
        AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
      LIMIT 1) o ON true
    WHERE s.seqincrement > 0 AND has_sequence_privilege(s.seqrelid, 'SELECT, USAGE')
      -- Reading a sequence that is being altered would wait.
      AND s.seqrelid NOT IN (
        SELECT l.relation FROM pg_locks l
        WHERE l.relation IS NOT NULL AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
  ) q
  WHERE q.last IS NOT NULL
  ORDER BY (q.last::float8 - q.start) / greatest(q.max::float8 - q.start, 1) DESC LIMIT 20) r
