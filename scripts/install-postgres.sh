#!/usr/bin/env bash
# Makes sure that the programs of a PostgreSQL server, version 15 or later, are on this machine.
#   scripts/install-postgres.sh            does nothing when they are
#   scripts/install-postgres.sh --check    only looks; exits 1 when they are not
# It looks where assistctl looks: $ASSISTCTL_POSTGRES_BIN, PATH, and the folders of the distributions.
# With apt-get and root's rights it installs the newest packaged version. The distribution's own cluster is not created, no service is
# started, and clusters that exist are left alone: only the programs are wanted.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/apt.sh"

oldest=15

# usable prints "<version> <folder>" when a folder holds the programs of one version that is new enough.
usable() {
    local dir=$1 version
    [[ -x $dir/postgres && -x $dir/initdb && -x $dir/pg_controldata ]] || return 1
    version=$("$dir/postgres" --version 2>/dev/null | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p')
    [[ -n $version && $version -ge $oldest ]] && echo "$version $dir"
}

find_postgres() {
    local dir
    if [[ -n ${ASSISTCTL_POSTGRES_BIN:-} ]]; then
        usable "$ASSISTCTL_POSTGRES_BIN" || usable "$ASSISTCTL_POSTGRES_BIN/bin"
        return
    fi
    if dir=$(command -v postgres) && usable "$(dirname "$(readlink -f "$dir")")"; then return; fi
    while read -r dir; do
        if usable "$dir"; then return; fi
    done < <(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin | sort -rV)
    return 1
}

# newest_package prints the newest postgresql-<major> that apt can install.
newest_package() {
    apt-cache search --names-only '^postgresql-[0-9]+$' | cut -d' ' -f1 | sort -V | tail -n 1
}

by_hand() {
    say "PostgreSQL $oldest or later is needed, and $1."
    say "Install its server programs, then try again:"
    say "  Debian, Ubuntu  sudo apt-get install postgresql"
    say "  Fedora, RHEL    sudo dnf install postgresql-server postgresql-contrib"
    say "  Alpine          sudo apk add postgresql postgresql-contrib"
    say "Elsewhere: https://www.postgresql.org/download/"
    say "When they are in a folder of their own, name it: export ASSISTCTL_POSTGRES_BIN=/path/to/bin"
    exit 1
}

# Everything that keeps the packages from making and starting a cluster, and what is taken back afterwards.
undo=()
# shellcheck disable=SC2317 # called by the trap
take_back() {
    local file
    for file in ${undo[@]+"${undo[@]}"}; do as_root rm -f "$file"; done
}

no_cluster() {
    local setting=/etc/postgresql-common/createcluster.d/50-assistctl.conf policy=/usr/sbin/policy-rc.d
    undo+=("$setting")
    as_root mkdir -p "$(dirname "$setting")"
    echo "create_main_cluster = off" | as_root tee "$setting" >/dev/null
    # The packages ask for every cluster of the machine to be started, of whatever version.
    if [[ ! -e $policy ]]; then
        undo+=("$policy")
        printf '#!/bin/sh\ncase "$1" in postgresql*) exit 101 ;; esac\nexit 0\n' | as_root tee "$policy" >/dev/null
        as_root chmod 0755 "$policy"
    fi
}

if found=$(find_postgres); then
    if [[ ${1:-} == --check ]]; then echo "PostgreSQL ${found%% *} in ${found#* }"; fi
    exit 0
fi
[[ -z ${ASSISTCTL_POSTGRES_BIN:-} ]] || by_hand "\$ASSISTCTL_POSTGRES_BIN ($ASSISTCTL_POSTGRES_BIN) does not hold it"
[[ ${1:-} != --check ]] || by_hand "none was found"
can_install || by_hand "it can be installed neither as this user nor with sudo"

refresh
package=$(newest_package)
[[ -n $package ]] || by_hand "apt-get knows no package of it"
if [[ ${package##*-} -lt $oldest ]]; then
    by_hand "$package is the newest that apt-get knows (https://apt.postgresql.org has newer ones)"
fi
say "installing $package (programs only; no cluster is created or started)"
trap take_back EXIT
no_cluster
apt install --no-install-recommends "$package"
found=$(find_postgres) || by_hand "$package did not bring it"
say "PostgreSQL ${found%% *} is in ${found#* }"
