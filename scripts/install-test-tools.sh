#!/usr/bin/env bash
# Makes sure that what the tests use beside Go, PostgreSQL and the pinned tools is on this machine: age, zstd and tar, which open
# a backup by hand, a server that speaks Valkey's protocol, an IMAP server, and a C compiler for the race detector. Does nothing when all is there.
#   scripts/install-test-tools.sh --check    only looks; exits 1 when something is missing
#   scripts/install-test-tools.sh --bench    also pgBackRest, which the benchmark measures beside
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/apt.sh"
PATH=$PATH:/usr/sbin # where Debian keeps servers

# <program> <what is missing> <Debian packages>
needed() {
    printf '%s\n' \
        "age age age" \
        "zstd zstd zstd" \
        "tar tar tar" \
        "redis-server redis-server redis-server" \
        "curl curl curl" \
        "jq jq jq" \
        "openssl openssl openssl" \
        "dovecot dovecot dovecot-imapd" \
        "node Node.js nodejs" \
        "npm npm npm" \
        "$(go env CC) a-C-compiler gcc libc6-dev"
    [[ $mode != --bench ]] || echo "pgbackrest pgbackrest pgbackrest"
}
mode=${1:-}

missing=() packages=()
while read -r program what debian; do
    if ! command -v "$program" >/dev/null; then
        missing+=("$what")
        read -ra more <<<"$debian"
        packages+=("${more[@]}")
    fi
done < <(needed)
[[ ${#missing[@]} -gt 0 ]] || exit 0

by_hand() {
    say "The tests need ${missing[*]}, and $1. Install, then try again:"
    say "  Debian, Ubuntu  sudo apt-get install ${packages[*]}"
    exit 1
}
[[ $mode != --check ]] || by_hand "only a look was asked for"
can_install || by_hand "it can be installed neither as this user nor with sudo"
say "installing ${packages[*]}"
refresh
apt install --no-install-recommends "${packages[@]}"
