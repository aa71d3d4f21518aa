#!/usr/bin/env bash
# Loads the images that `make images` left, and those of the servers, into the cluster of up.sh, and prints what a stack's settings say to run
# from them: a cluster without a registry has no other.
#   test/cluster/load.sh [stack]
set -euo pipefail
source "$(dirname "$0")/env.sh"
cd "$repository"
stack=${1:-dev}

alive kube-apiserver || { say "the test cluster is down: make cluster-up"; exit 1; }
set_key() { printf "pulumi config set --stack %s --path 'smart-assistant:%s' %s\n" "$stack" "$1" "$2"; }
references=$(CGO_ENABLED=0 go run -trimpath ./test/cluster/images/load -socket "$socket" -product dist/images)
set_key kube.context "$(kubectl config current-context)"
set_key images.registry localhost
for name in postgres valkey versitygw; do
    set_key "images.$name" "$(grep "/$name[:@]" <<<"$references")"
done
set_key addons.ingress existing
set_key ingress.address "$node_ip:30443"
set_key openWebUI.enabled false
