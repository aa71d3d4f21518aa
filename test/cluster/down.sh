#!/usr/bin/env bash
# Stops the test cluster and cleans the machine of what it set up: processes, mounts, links, firewall rules, cgroups.
#   test/cluster/down.sh           keeps objects, volumes and images: the next start takes seconds
#   test/cluster/down.sh --wipe    the next cluster is empty; only the programs stay
set -uo pipefail
source "$(dirname "$0")/env.sh"
[[ $EUID -eq 0 ]] || { say "root is wanted"; exit 1; }

stop() {
    local pid
    [[ -s $pids/$1 ]] || return 0
    pid=$(<"$pids/$1")
    if running "$pid"; then
        kill "$pid"
        for _ in {1..75}; do running "$pid" && sleep 0.2 || break; done
        running "$pid" && kill -KILL "$pid"
    fi
    rm -f "$pids/$1"
}

proxied=
[[ -s $pids/kube-proxy ]] && proxied=yes
for name in provision kubelet enforce kube-proxy; do stop "$name"; done
# Containers outlive kubelet.
if alive containerd; then
    for round in 1 2 3; do
        tasks=$(ctrk tasks list -q 2>/dev/null)
        [[ -n $tasks ]] || break
        for id in $tasks; do ctrk tasks kill -s KILL -a "$id" >/dev/null 2>&1; done
        sleep "$round"
        for id in $tasks; do ctrk tasks delete -f "$id" >/dev/null 2>&1; done
    done
    for id in $(ctrk containers list -q 2>/dev/null); do ctrk containers delete "$id" >/dev/null 2>&1; done
fi
for name in kube-scheduler kube-controller-manager kube-apiserver etcd containerd; do stop "$name"; done

while read -r mount; do umount -l "$mount" 2>/dev/null; done < <(awk -v below="$run/" 'index($2, below) == 1 {print $2}' /proc/self/mounts | sort -r)
for namespace in /run/netns/cni-*; do
    [[ -e $namespace ]] || continue
    umount -l "$namespace" 2>/dev/null
    rm -f "$namespace"
done
rm -rf "$run/cni-addresses" /var/lib/cni/results/test-pods-*

[[ -z $proxied ]] || "$programs/kube-proxy" --cleanup >/dev/null 2>&1
nft delete table inet test_network_policies 2>/dev/null

# rules <iptables> <table> <pattern>: deletes the rules that match and then the chains of that name.
rules() {
    local line
    while read -r line; do
        # iptables -S quotes comments as a shell does.
        eval "$1 -t $2 ${line/#-A/-D}" 2>/dev/null
    done < <("$1" -t "$2" -S 2>/dev/null | grep -E "^-A .*($3)")
    for chain in $("$1" -t "$2" -S 2>/dev/null | sed -nE "s/^-N (($3)[^ ]*)/\1/p"); do
        "$1" -t "$2" -F "$chain" 2>/dev/null
        "$1" -t "$2" -X "$chain" 2>/dev/null
    done
}
for iptables in iptables ip6tables; do
    command -v "$iptables" >/dev/null || continue
    rules "$iptables" nat 'CNI-'
    for table in filter nat mangle; do rules "$iptables" "$table" 'KUBE-'; done
done

# The pods' cgroups are empty now; the deepest first.
find /sys/fs/cgroup -maxdepth 2 -type d -name kubepods -exec find {} -depth -type d -exec rmdir {} + \; 2>/dev/null
[[ ${1:-} != --wipe ]] || rm -rf --one-file-system "$run"
say "the test cluster is down"
