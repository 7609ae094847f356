SELECT coalesce(json_object_agg(d.datname, pg_database_size(d.oid)), '{}')
FROM pg_database d
WHERE has_database_privilege(d.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
