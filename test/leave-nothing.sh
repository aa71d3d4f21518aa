#!/usr/bin/env bash
# Runs a command in a temporary folder and a home of its own. Afterwards every process that it started must have ended
# and every file must be gone; otherwise says which remain, ends and removes them, and exits 1.
#   test/leave-nothing.sh go test ./...
# With CI=true, where nobody else is at work on the machine, it also compares the work tree and the places that a
# program reaches without asking TMPDIR: /tmp, /dev/shm and System V shared memory.
set -uo pipefail
cd "$(dirname "$0")/.."

# Short, because Unix socket paths end at 107 bytes; 0711, because PostgreSQL runs as a user of its own under root.
root=$(mktemp -d "${TMPDIR:-/tmp}/sa.XXXXXX")
chmod 0711 "$root"
mkdir -m 0711 "$root/tmp" "$root/home"
mkdir -m 0700 "$root/run"
# The go command would count its own use in the new home.
mkdir -p "$root/home/.config/go/telemetry" && echo off >"$root/home/.config/go/telemetry/mode"

# What tests install from npm is kept for the next run, as the go command keeps its caches.
caches=${XDG_CACHE_HOME:-${HOME:?}/.cache}

# A test must not find the user's own servers and settings.
for name in $(compgen -e); do
    case $name in
    ASSISTCTL_VERSITYGW | ASSISTCTL_POSTGRES_BIN) ;; # where programs are
    PG* | ASSISTCTL_* | ASSISTD_* | AWS_* | XDG_*) unset "$name" ;;
    esac
done

elsewhere() {
    [[ ${CI:-} == true ]] || return 0
    git status --porcelain --ignored | grep -v ' bin/$'
    # By the names that our programs and tests give: the machine's own services write to these folders too.
    find /tmp /dev/shm -mindepth 1 -maxdepth 1 ! -path "$root" \
        \( -name 'assistctl*' -o -name 'Test*' -o -name 'e2e-*' -o -name 'demo-*' -o -name 'PostgreSQL.*' -o -name '.s.PGSQL*' \)
    ipcs -m | awk '$1 ~ /^0x/ {print "shared memory segment " $2 " of " $3}'
}

# processes prints the pid of each process whose environment, command line, executable or folder lies in $root.
processes() {
    local dirs=(/proc/[0-9]*) pid
    {
        grep -laF -- "$root/" "${dirs[@]/%//environ}" "${dirs[@]/%//cmdline}"
        find "${dirs[@]}" -maxdepth 1 \( -name cwd -o -name exe \) -lname "$root*"
    } 2>/dev/null | cut -d/ -f3 | sort -u | while read -r pid; do
        # A zombie has ended; only its parent has not asked yet.
        grep -q '^State:.*[ZX]' "/proc/$pid/status" 2>/dev/null || echo "$pid"
    done
}

files() { find "$root" -mindepth 2 ! -path "$root/home/.config*"; }

before=$(elsewhere | sort)
trap 'interrupted=130' INT TERM
env -u GOTMPDIR HOME="$root/home" TMPDIR="$root/tmp" XDG_RUNTIME_DIR="$root/run" \
    GOENV="$(go env GOENV)" GOCACHE="$(go env GOCACHE)" GOMODCACHE="$(go env GOMODCACHE)" GOPATH="$(go env GOPATH)" \
    TEST_CACHE="$caches/smart-assistant-tests" npm_config_cache="${npm_config_cache:-$HOME/.npm}" \
    "$@"
code=$?
code=${interrupted:-$code}

# A process that was told to end may still be ending.
until=$((SECONDS + 5))
while left=$(processes); [[ -n $left && SECONDS -lt until ]]; do sleep 0.1; done
if [[ -n $left ]]; then
    echo "FAIL: these processes were left behind:" >&2
    for pid in $left; do echo "  $pid $(tr '\0' ' ' <"/proc/$pid/cmdline")" >&2; done
    kill -KILL $left 2>/dev/null
    code=1
fi

left=$(files)
if [[ -n $left ]]; then
    echo "FAIL: these files were left behind:" >&2
    head -n 20 <<<"$left" >&2
    code=1
fi
rm -rf "$root"

left=$(comm -13 <(echo "$before") <(elsewhere | sort))
if [[ -n $left ]]; then
    echo "FAIL: these are new on the machine and were left behind:" >&2
    head -n 20 <<<"$left" >&2
    code=1
fi
exit "$code"
