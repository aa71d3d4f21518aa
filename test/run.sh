#!/usr/bin/env bash
# Runs the tests of packages:   test/run.sh ./... -- -run TestLease
# Packages that link a provider's SDK run without the race detector: those SDKs compile for minutes and gigabytes, once for each set of
# flags, and what they describe is plain data.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
while [[ $# -gt 0 && $1 != -- ]]; do packages+=("$1"); shift; done
[[ $# -eq 0 ]] || shift # what is left is for go test

sdk=' github.com/pulumi/pulumi-[a-z]+/sdk/'
all=$(go list "${packages[@]}")
slow=$(go list -test -f '{{with .ForTest}}{{.}}{{else}}{{.ImportPath}}{{end}} {{join .Deps " "}}' "${packages[@]}" | grep -E "$sdk" | cut -d' ' -f1 | sed 's/\.test$//' | sort -u || true)
quick=$(comm -23 <(sort -u <<<"$all") <(echo "$slow"))

status=0
if [[ -n $quick ]]; then
    # shellcheck disable=SC2086 # a list
    CGO_ENABLED=1 go test -race -count=1 -p 2 -timeout 40m "$@" $quick || status=$?
fi
if [[ -n $slow ]]; then
    # shellcheck disable=SC2086 # a list
    CGO_ENABLED=0 go test -trimpath -count=1 -p 2 -timeout 40m "$@" $slow || status=$?
fi
exit $status
