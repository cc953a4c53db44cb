-- A role for maintenance that may do what its tasks need, and nothing else. Run it as an administrator of the database, as often as you like:
--
--   psql "$ADMIN_URL" -v role=vmsh_maintenance -v schema=public -f docs/maintenance-role.sql
--
-- Further variables, each only if a task needs it:
--   -v retain=public.orders       rows of this table are deleted by a retain task (again for each table)
--   -v archive=archive.orders     rows are archived into this table
--   -v owner=shop                 PostgreSQL 15 and 16: only a table's owner may VACUUM, ANALYZE, REINDEX and REFRESH, so the role becomes a
--                                 member of this owner and may do all that it may; from 17 on it gets MAINTAIN and needs no owner
-- Then give it a password: \password vmsh_maintenance

\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role vmsh_maintenance
\endif
\if :{?schema}
\else
  \set schema public
\endif

SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec

SELECT format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', current_database(), :'role') \gexec
GRANT USAGE ON SCHEMA :"schema" TO :"role";
-- checks, backups, and the counting of what is old
GRANT SELECT ON ALL TABLES IN SCHEMA :"schema" TO :"role";
GRANT SELECT ON ALL SEQUENCES IN SCHEMA :"schema" TO :"role";
-- who holds rows alive, how far replicas are behind, how bloated an index is
GRANT pg_read_all_stats, pg_stat_scan_tables TO :"role";

SELECT format('GRANT MAINTAIN ON ALL TABLES IN SCHEMA %I TO %I', :'schema', :'role')
WHERE current_setting('server_version_num')::int >= 170000 \gexec

\if :{?owner}
  SELECT format('GRANT %I TO %I', :'owner', :'role')
  WHERE current_setting('server_version_num')::int < 170000 \gexec
\endif

\if :{?retain}
  -- UPDATE, since a row is locked before it is deleted
  SELECT format('GRANT SELECT, UPDATE, DELETE ON %s TO %I', :'retain'::regclass, :'role') \gexec
\endif

\if :{?archive}
  SELECT format('GRANT USAGE ON SCHEMA %s TO %I', relnamespace::regnamespace, :'role')
  FROM pg_class WHERE oid = :'archive'::regclass \gexec
  SELECT format('GRANT INSERT ON %s TO %I', :'archive'::regclass, :'role') \gexec
\endif
