#!/usr/bin/env bash
# Builds the tool that tools/<name>/go.mod pins into bin/<name>; does nothing when that very version is there.
#   tools/build.sh versitygw
#   tools/build.sh golangci-lint gofumpt govulncheck
set -euo pipefail
cd "$(dirname "$0")/.."

# stamp tells one build from another: the pinned module graph, code of our own, the toolchain and the platform.
stamp() {
    { cat "tools/$1/go.mod" "tools/$1/go.sum"; find "tools/$1" -name '*.go' -exec cat {} +; go version; version_flags "$1"; } | sha256sum | cut -d' ' -f1
}

# version_flags: a tool that must be told its version at link time, because only its own repository's build knows it.
version_flags() {
    case $1 in
    pulumi) printf ' -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=%s' "$(required "$1" github.com/pulumi/pulumi/pkg/v3)" ;;
    pulumi-language-go) printf ' -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=%s' "$(required "$1" github.com/pulumi/pulumi/sdk/v3)" ;;
    esac
}

# required is the version of a module that a tool's go.mod pins.
required() {
    awk -v module="$2" '{ sub(/^require /, "") } $1 == module { print $2; exit }' "tools/$1/go.mod"
}

build() {
    local name=$1 want have flags
    [[ -f tools/$name/go.mod ]] || { echo "tools/build.sh: no tools/$name/go.mod" >&2; return 2; }
    want=$(stamp "$name")
    have=$(cat "bin/.$name.stamp" 2>/dev/null || true)
    [[ -x bin/$name && $have == "$want" ]] && return 0

    echo "building $name (once; pinned in tools/$name/go.mod)" >&2
    mkdir -p bin
    flags=$(version_flags "$name")
    # Built beside its place and renamed, so that nobody ever runs half a file, nor writes over a running one.
    (cd "tools/$name" && CGO_ENABLED=0 go build -trimpath -ldflags="-s -w$flags" -o "../../bin/.$name.new" "$(go list -f '{{.ImportPath}}' tool)")
    mv -f "bin/.$name.new" "bin/$name"
    echo "$want" >"bin/.$name.stamp"
}

[[ $# -gt 0 ]] || { echo "usage: tools/build.sh <name>..." >&2; exit 2; }
for name in "$@"; do build "$name"; done
