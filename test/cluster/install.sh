#!/usr/bin/env bash
# Gets what the test cluster runs, once: Debian packages, and programs built from the Go module proxy (a quarter of an hour on two
# cores). What is there already is left alone.
set -euo pipefail
source "$(dirname "$0")/env.sh"

packages=(etcd-server containerd runc containernetworking-plugins iptables nftables conntrack ethtool iproute2 openssl curl)
missing=()
for p in "${packages[@]}"; do dpkg -s "$p" >/dev/null 2>&1 || missing+=("$p"); done
if [[ ${#missing[@]} -gt 0 ]]; then
    can_install || { say "the test cluster needs ${missing[*]}: sudo apt-get install ${missing[*]}"; exit 1; }
    say "installing ${missing[*]}"
    refresh
    # Its services must not start: the cluster runs its own.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
        as_root chmod +x /usr/sbin/policy-rc.d
    fi
    apt install --no-install-recommends "${missing[@]}"
fi

mkdir -p "$programs"
# build <name> <folder of the module> <package> [flags]: into $programs, whole or not at all.
build() {
    local name=$1 folder=$2 package=$3
    shift 3
    [[ -x $programs/$name ]] && return
    say "building $name"
    (cd "$folder" && go build -trimpath "$@" -o "$programs/.$name.new" "$package")
    mv "$programs/.$name.new" "$programs/$name"
}

# Without its version Kubernetes calls itself v0.0.0-master, which its own clients cannot read.
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$kubernetes") -X $package.gitTreeState=clean"
done
for program in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    build "$program" "$here/tools/kubernetes" "k8s.io/kubernetes/cmd/$program" -ldflags="$flags"
done
command -v kubectl >/dev/null || build kubectl "$here/tools/kubernetes" k8s.io/kubernetes/cmd/kubectl -ldflags="$flags"
export CGO_ENABLED=0 # what goes into an image has no libraries beside it
build coredns "$here/tools/coredns" . -ldflags='-s -w'
build pause "$repository" ./test/cluster/pause -ldflags='-s -w'
[[ -x $programs/traefik ]] || "$here/tools/traefik.sh" "$programs/traefik"

# The enforcer is ours and changes with the repository.
(cd "$repository" && go build -trimpath -o "$programs/.enforce.new" ./test/cluster/netpol/enforce)
mv "$programs/.enforce.new" "$programs/enforce"

# definitions <file> <module@version> <pattern>: custom resource definitions out of a module.
definitions() {
    local dir
    [[ -s $programs/$1 ]] && return
    dir=$(cd "$here/tools/coredns" && go mod download -json "$2" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
    for file in "$dir"/$3; do
        echo ---
        cat "$file"
    done >"$programs/.$1.new"
    mv "$programs/.$1.new" "$programs/$1"
}
definitions traefik.yaml "github.com/traefik/traefik/v3@$traefik" 'docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml'
definitions monitoring.yaml "github.com/prometheus-operator/prometheus-operator@$prometheus_operator" 'example/prometheus-operator-crd/*.yaml'
definitions cert-manager.yaml "github.com/cert-manager/cert-manager@$cert_manager" 'deploy/crds/*.yaml'
