#!/usr/bin/env bash
# Runs every fuzz test of the repository for FUZZTIME each (default 10s), one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."

git grep --untracked -qE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' || { echo "no fuzz test found" >&2; exit 1; }
git grep --untracked -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | while IFS=: read -r file func; do
    echo "== ${func#func } in $(dirname "$file")"
    go test -run '^$' -fuzz "^${func#func }\$" -fuzztime "${FUZZTIME:-10s}" -fuzzminimizetime 1x "./$(dirname "$file")" </dev/null
done
