WITH f AS (SELECT pg_current_logfile() AS name),
z AS (SELECT f.name, (pg_stat_file(f.name)).size AS size FROM f WHERE f.name IS NOT NULL),
b AS (SELECT z.name, least(z.size, 262144) AS bytes,
             -- As bytes: the cut may go through the middle of a character.
             encode(pg_read_binary_file(z.name, greatest(z.size - 262144, 0), 262144), 'escape') AS text
      FROM z),
l AS MATERIALIZED (
  SELECT u.at, left(u.line, 300) AS line
  FROM b, regexp_split_to_table(b.text, '\n') WITH ORDINALITY AS u(line, at)
  -- Only what the log dates to the last hour.
  WHERE substring(left(u.line, 60) FROM '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d')
        >= to_char((clock_timestamp() - interval '1 hour') AT TIME ZONE current_setting('log_timezone'), 'YYYY-MM-DD HH24:MI:SS')
)
SELECT json_build_object(
  'file', b.name, 'bytes', b.bytes,
  'panics', (SELECT coalesce(json_agg(p.line ORDER BY p.at), '[]') FROM (SELECT * FROM l WHERE line ~ '\mPANIC:' ORDER BY at DESC LIMIT 5) p),
  'no_space', (SELECT coalesce(json_agg(p.line ORDER BY p.at), '[]') FROM (SELECT * FROM l WHERE line ~ '\m(ERROR|FATAL|PANIC|LOG|WARNING):.*No space left on device' ORDER BY at DESC LIMIT 5) p),
  'corruption', (SELECT coalesce(json_agg(p.line ORDER BY p.at), '[]') FROM (SELECT * FROM l WHERE line ~ '\m(ERROR|FATAL|PANIC|WARNING):.*(invalid page in block|page verification failed|could not read block|missing chunk number|invalid memory alloc request size)' ORDER BY at DESC LIMIT 5) p),
  'crashes', (SELECT coalesce(json_agg(p.line ORDER BY p.at), '[]') FROM (SELECT * FROM l WHERE line ~ '\mLOG:.*was terminated by signal' ORDER BY at DESC LIMIT 5) p),
  'auth_failures', (SELECT count(*) FROM l WHERE line ~ '\mFATAL:.*(authentication failed|no pg_hba.conf entry|does not exist)'))
FROM b
