WITH f AS MATERIALIZED (SELECT * FROM pg_file_settings)
SELECT json_build_object(
  'errors', (
    SELECT coalesce(json_agg(e), '[]') FROM (
      SELECT f.sourcefile AS file, f.sourceline AS line, f.name, f.error FROM f
      WHERE f.error IS NOT NULL
        -- Reading the files has marked what is valid and waits for a restart; that is told elsewhere.
        AND NOT coalesce((SELECT s.pending_restart FROM pg_settings s WHERE s.name = f.name), false)
      UNION ALL
      SELECT current_setting('hba_file'), line_number, NULL, error FROM pg_hba_file_rules WHERE error IS NOT NULL
      LIMIT 20) e),
  'read_only', coalesce((
    SELECT f.setting IN ('on', 'true', 'yes', '1') FROM f
    WHERE f.name = 'default_transaction_read_only' ORDER BY f.seqno DESC LIMIT 1), false))
