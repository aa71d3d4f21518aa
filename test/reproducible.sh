#!/usr/bin/env bash
# Builds both programs twice, from two different folders, and compares them byte for byte.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for copy in a b; do
    mkdir -p "$work/$copy/src" "$work/$copy/bin"
    git archive HEAD | tar -x -C "$work/$copy/src"
    (cd "$work/$copy/src" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$work/$copy/bin/" ./cli/assistctl ./service/assistd)
done
diff -r "$work/a/bin" "$work/b/bin"
(cd "$work/a/bin" && sha256sum ./*)
