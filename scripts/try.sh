#!/usr/bin/env bash
# Starts the service on this machine at http://127.0.0.1:8080: PostgreSQL, an S3 server and a replica behind a proxy, in one environment.
#   scripts/try.sh        starts what does not run yet, and brings the working tree's build to it
#   scripts/try.sh stop   ends it; the data stays
# Another port: ASSISTCTL_ENVIRONMENTS_DEV_PORTS_PROXY=8081 (and so on: assistctl config view).
set -euo pipefail
cd "$(dirname "$0")/.."
export ASSISTCTL_CONFIG=$PWD/sample/assistctl.yaml
assistctl=bin/assistctl

if [[ ${1:-} == stop ]]; then
    exec "$assistctl" local down
fi
scripts/install-postgres.sh
# A version for each state of the working tree, so that a second run of the same one changes nothing.
version=v0.0.0-x$( (git rev-parse HEAD; git diff HEAD) 2>/dev/null | sha256sum | cut -c1-10)
make build VERSION="$version"

"$assistctl" local up dev
"$assistctl" release create "$version" --binary bin/assistd
"$assistctl" deploy dev "$version" --yes
echo
url=http://127.0.0.1:${ASSISTCTL_ENVIRONMENTS_DEV_PORTS_PROXY:-8080}
echo "The service is at $url, what it can do at $url/docs. The README goes on."
