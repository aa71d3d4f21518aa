#!/usr/bin/env bash
# Builds Traefik from its published Go module.
#   traefik.sh OUT
# The module cannot be built where it lies, so a copy is changed:
# - it has a nested module that its archive leaves out: an extension point that is empty; an empty one is put in its place
# - its ACME providers for DNS bring some 150 SDKs along, and tests need no ACME
# - its fork of go-http-auth is taken at an older revision, the newest that the proxy serves; tests use no basic auth
# - its dashboard is not in the archive
set -euo pipefail
source "$(dirname "$0")/../env.sh"
out=$1
say "building traefik (5 minutes on two idle cores)"

module=$(cd "$here/tools/coredns" && go mod download -json "github.com/traefik/traefik/v3@$traefik" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cp -r "$module/." "$work"
chmod -R u+w "$work"
cd "$work"

mkdir -p pkg/config/dynamic/ext
cat >pkg/config/dynamic/ext/go.mod <<'EXT'
module github.com/traefik/traefik/dynamic/ext

go 1.25
EXT
cat >pkg/config/dynamic/ext/ext.go <<'EXT'
package ext

type (
	HTTP   struct{}
	Router struct{}
)
EXT

sed -i -e '/lego\/v5\/providers\/dns"/d' -e 's/dns\.NewDNSChallengeProviderByName(/withoutDNSProviders(/' pkg/provider/acme/provider.go
cat >pkg/provider/acme/without_dns.go <<'ACME'
package acme

import (
	"errors"

	"github.com/go-acme/lego/v5/challenge"
)

func withoutDNSProviders(string) (challenge.Provider, error) {
	return nil, errors.New("this build has no DNS providers")
}
ACME

go mod edit -replace github.com/abbot/go-http-auth=github.com/containous/go-http-auth@v0.4.1-0.20200324110947-a37a7636d23e
mkdir -p webui/static
[[ -n $(ls -A webui/static) ]] || echo "no dashboard" >webui/static/index.html

CGO_ENABLED=0 GOFLAGS=-mod=mod go build -trimpath -ldflags="-s -w -X github.com/traefik/traefik/v3/pkg/version.Version=$traefik" -o "$out.new" ./cmd/traefik
mv "$out.new" "$out"
