SELECT json_build_object('files', count(*), 'bytes', coalesce(sum(size), 0)::bigint)
FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'
