# shellcheck shell=bash disable=SC2034
# Sourced by the scripts of the test cluster: where things are, and a few helpers.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
source "$repository/scripts/apt.sh"

# All that the cluster writes is below this folder: programs, images, and under run what `down.sh --wipe` removes.
CLUSTER_HOME=${CLUSTER_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/smart-assistant-cluster}
programs=$CLUSTER_HOME/bin
run=$CLUSTER_HOME/run
pki=$run/pki logs=$run/log pids=$run/pid
socket=$run/containerd.sock
export KUBECONFIG=$run/admin.kubeconfig
export PATH=$PATH:$programs

kubernetes=v1.34.2
traefik=v3.7.13
# Modules whose custom resource definitions our manifests use.
prometheus_operator=v0.85.0
cert_manager=v1.19.1

node=test-node
# The address by which the machine reaches others is the node's; without a route, any that is not loopback.
node_ip=${NODE_IP:-$(ip -4 route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p')}
[[ -n $node_ip ]] || node_ip=$(ip -4 -o addr show scope global 2>/dev/null | sed -n '1s/.* inet \([0-9.]*\).*/\1/p')
pod_cidr=10.244.0.0/16 node_pod_cidr=10.244.0.0/24
service_cidr=10.96.0.0/16 api_service_ip=10.96.0.1 dns_ip=10.96.0.10

ctrk() { ctr -a "$socket" -n k8s.io "$@"; }

# running <pid>: the process is there and no zombie.
running() {
    local state
    state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1)
    [[ -n $state && $state != Z ]]
}

# alive <name>: what start began is still running.
alive() { [[ -s $pids/$1 ]] && running "$(<"$pids/$1")"; }

# start <name> <command>...: in the background and in a session of its own; output in $logs/<name>.log
start() {
    local name=$1
    shift
    alive "$name" && return
    setsid nohup "$@" >"$logs/$name.log" 2>&1 </dev/null &
    echo $! >"$pids/$name"
}

# until_ok <seconds> <what> <command>...: repeats the command until it succeeds.
until_ok() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            say "$what did not come up in time; the end of $logs/$what.log:"
            tail -n 20 "$logs/$what.log" >&2 || true
            return 1
        fi
        sleep 0.2
    done
}
