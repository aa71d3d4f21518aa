-- Run once, by the image's entrypoint, after it made the data directory. The passwords are read from files, so that they stand in no command line.
\set ON_ERROR_STOP on
\set service `cat /etc/postgresql-secrets/service-password`
\set replication `cat /etc/postgresql-secrets/backup-password`

CREATE ROLE assistd LOGIN PASSWORD :'service';
ALTER DATABASE assistant OWNER TO assistd;
REVOKE ALL ON DATABASE assistant FROM PUBLIC;

-- Base backups hold everything in any case; reading lets a scheduled backup say which schema it holds.
CREATE ROLE backup LOGIN REPLICATION PASSWORD :'replication';
GRANT pg_monitor, pg_read_all_data TO backup;
GRANT CONNECT ON DATABASE assistant TO backup;
