#!/usr/bin/env bash
# Runs the tests that want a cluster, on one of this machine: starts it when it does not run, and stops it afterwards if so.
#   test/cluster/test.sh [package...] [-- <flags of go test>]
# PROVIDERS=real uses the installed plugins of Pulumi instead of the stand-ins of test/cluster/providers.
set -euo pipefail
source "$(dirname "$0")/env.sh"
cd "$repository"

packages=()
while [[ $# -gt 0 && $1 != -- ]]; do
    packages+=("$1")
    shift
done
[[ $# -eq 0 ]] || shift
[[ ${#packages[@]} -gt 0 ]] || packages=(./test/cluster/... ./cli/target/kubernetes/...)

if ! { alive kube-apiserver && alive kubelet; }; then
    trap '"$here/down.sh"' EXIT
fi
"$here/up.sh"

# One set of flags for whatever links a Pulumi SDK or a client of Kubernetes: they compile for minutes, and again for each other set.
export CGO_ENABLED=0 GOFLAGS=-trimpath
export CLUSTER_SOCKET=$socket CLUSTER_NODE_IP=$node_ip CLUSTER_INGRESS_HTTP=$node_ip:30080 CLUSTER_INGRESS_HTTPS=$node_ip:30443
# A pulumi that is installed is used as it is, with the language host that comes with it.
if [[ ${PROVIDERS:-} != real ]]; then
    command -v pulumi >/dev/null || tools/build.sh pulumi
    command -v pulumi-language-go >/dev/null || tools/build.sh pulumi-language-go
    go build -ldflags='-s -w' -o bin/standins ./test/cluster/providers/standins
fi
tools/build.sh versitygw
export ASSISTCTL_VERSITYGW=$repository/bin/versitygw
# Last, for a tool that the machine has comes first.
export PATH=$PATH:$repository/bin
# Most of what they do is wait.
go test -tags cluster -count=1 -p 1 -parallel 3 -timeout 60m "$@" "${packages[@]}"
# Without it every policy is open, and what is denied was not proven.
alive enforce || { say "the enforcer of NetworkPolicies ended while the tests ran; the end of $logs/enforce.log:"; tail -n 20 "$logs/enforce.log" >&2; exit 1; }
