#!/bin/bash
# Entrypoint of the test image of PostgreSQL. It knows the variables of the image that clusters with a registry run: POSTGRES_USER,
# POSTGRES_PASSWORD or _FILE, POSTGRES_DB, POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD and PGDATA, and runs what lies in
# /docker-entrypoint-initdb.d after it made a new cluster.
set -euo pipefail
: "${PGDATA:=/var/lib/postgresql/data}"
export PGDATA
[[ ${1:-} != -* && $# -gt 0 ]] || set -- postgres "$@"
if [[ $1 != postgres ]]; then exec "$@"; fi

if [[ $(id -u) = 0 ]]; then
    mkdir -p "$PGDATA"
    chown -R postgres "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

# from_file NAME: the value of NAME, or what the file that NAME_FILE names holds.
from_file() {
    local file=$1_FILE
    if [[ -n ${!file:-} ]]; then cat "${!file}"; else echo "${!1:-}"; fi
}

# docker_process_sql is what the official image offers to scripts: psql as the superuser, over the socket, to the database made below.
docker_process_sql() {
    PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" "$@"
}

initialize() {
    local password arguments=()
    password=$(from_file POSTGRES_PASSWORD)
    if [[ -z $password && ${POSTGRES_HOST_AUTH_METHOD:-} != trust ]]; then
        echo "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" >&2
        return 1
    fi
    read -ra arguments <<<"${POSTGRES_INITDB_ARGS:-}"
    initdb --username="$POSTGRES_USER" --pwfile=<(echo "$password") --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 \
        "${arguments[@]}"
    echo "host all all all ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"

    pg_ctl -w -o "$(printf '%q ' "${@:2}" -c listen_addresses= -p "${PGPORT:-5432}")" start
    if [[ $POSTGRES_DB != postgres ]]; then
        POSTGRES_DB=postgres docker_process_sql --set database="$POSTGRES_DB" <<<'CREATE DATABASE :"database"'
    fi
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        echo "running $file"
        case $file in
        *.sh) if [[ -x $file ]]; then "$file"; else source "$file"; fi ;;
        *.sql) docker_process_sql -f "$file" ;;
        esac
    done
    pg_ctl -w -m fast stop
}

POSTGRES_USER=$(from_file POSTGRES_USER)
: "${POSTGRES_USER:=postgres}"
POSTGRES_DB=$(from_file POSTGRES_DB)
: "${POSTGRES_DB:=$POSTGRES_USER}"
export POSTGRES_USER POSTGRES_DB
mkdir -p "$PGDATA"
chmod 700 "$PGDATA" || true # a volume's group may have been given rights to it
[[ -s $PGDATA/PG_VERSION ]] || initialize "$@"
exec "$@"
