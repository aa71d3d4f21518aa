#!/usr/bin/env bash
# Starts the test cluster: Kubernetes on this machine, one node, real containers, NetworkPolicies enforced, Traefik at the node's
# address (http 30080, https 30443). What runs already is left alone. Wants root, Debian 12 or later, and the ports of Kubernetes.
#   test/cluster/up.sh
# The kubeconfig is $CLUSTER_HOME/run/admin.kubeconfig. down.sh stops it and cleans the machine.
set -euo pipefail
source "$(dirname "$0")/env.sh"
[[ $EUID -eq 0 ]] || { say "the test cluster runs containers: root is wanted"; exit 1; }
[[ -n $node_ip ]] || { say "no address but the loopback's: set NODE_IP"; exit 1; }
mkdir -p "$pki" "$logs" "$pids"
"$here/install.sh"
begin=$SECONDS

# --- certificates and kubeconfigs ----------------------------------------------------------------------------------------------------
ssl() { openssl "$@" >>"$logs/openssl.log" 2>&1 || { tail -n 5 "$logs/openssl.log" >&2; return 1; }; }

# certificate <name> <subject> [alternative names]
certificate() {
    [[ ! -s $pki/$1.crt ]] || return 0
    ssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$pki/$1.key" -out "$pki/$1.csr"
    printf 'extendedKeyUsage=clientAuth,serverAuth\n%s\n' "${3:+subjectAltName=$3}" >"$pki/$1.ext"
    ssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 365 -extfile "$pki/$1.ext" -out "$pki/$1.crt.new"
    mv "$pki/$1.crt.new" "$pki/$1.crt"
}

# access <name>: the kubeconfig of one component
access() {
    [[ ! -s $run/$1.kubeconfig ]] || return 0
    local file=$run/$1.kubeconfig.new
    {
        kubectl --kubeconfig "$file" config set-cluster test --server=https://127.0.0.1:6443 --certificate-authority="$pki/ca.crt" --embed-certs
        kubectl --kubeconfig "$file" config set-credentials "$1" --client-certificate="$pki/$1.crt" --client-key="$pki/$1.key" --embed-certs
        kubectl --kubeconfig "$file" config set-context test --cluster=test --user="$1"
        kubectl --kubeconfig "$file" config use-context test
    } >/dev/null
    mv "$file" "$run/$1.kubeconfig"
}

if [[ ! -s $pki/ca.crt ]]; then
    ssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=test-cluster -keyout "$pki/ca.key" -out "$pki/ca.crt"
    ssl genrsa -out "$pki/accounts.key" 2048
    ssl rsa -in "$pki/accounts.key" -pubout -out "$pki/accounts.pub"
fi
certificate apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$node_ip,IP:$api_service_ip"
certificate admin /O=system:masters/CN=admin
certificate controllers /CN=system:kube-controller-manager
certificate scheduler /CN=system:kube-scheduler
certificate kubelet "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$node_ip"
certificate proxy /CN=system:kube-proxy
certificate to-kubelet /O=system:masters/CN=kube-apiserver
certificate aggregation /CN=aggregation
for name in admin controllers scheduler kubelet proxy; do access "$name"; done

# --- control plane -------------------------------------------------------------------------------------------------------------------
start etcd etcd --data-dir "$run/etcd" --logger zap --log-level warn --initial-cluster default=http://127.0.0.1:2380 \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380
until_ok 60 etcd curl -fsS --noproxy '*' http://127.0.0.1:2379/health
start kube-apiserver "$programs/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --advertise-address="$node_ip" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --kubelet-client-certificate="$pki/to-kubelet.crt" --kubelet-client-key="$pki/to-kubelet.key" \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --service-account-key-file="$pki/accounts.pub" --service-account-signing-key-file="$pki/accounts.key" \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-cluster-ip-range="$service_cidr" \
    --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names=aggregation --requestheader-username-headers=X-Remote-User \
    --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$pki/aggregation.crt" --proxy-client-key-file="$pki/aggregation.key" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true
until_ok 120 kube-apiserver kubectl get --raw /readyz
start kube-controller-manager "$programs/kube-controller-manager" --kubeconfig="$run/controllers.kubeconfig" --leader-elect=false \
    --authentication-kubeconfig="$run/controllers.kubeconfig" --authorization-kubeconfig="$run/controllers.kubeconfig" \
    --use-service-account-credentials --service-account-private-key-file="$pki/accounts.key" --root-ca-file="$pki/ca.crt" \
    --allocate-node-cidrs --cluster-cidr="$pod_cidr" --node-cidr-mask-size=24 --service-cluster-ip-range="$service_cidr"
start kube-scheduler "$programs/kube-scheduler" --kubeconfig="$run/scheduler.kubeconfig" --leader-elect=false \
    --authentication-kubeconfig="$run/scheduler.kubeconfig" --authorization-kubeconfig="$run/scheduler.kubeconfig"
until_ok 90 kube-controller-manager kubectl -n default get serviceaccount default

# --- node ----------------------------------------------------------------------------------------------------------------------------
sysctl -qw net.ipv4.ip_forward=1
mount --make-rshared /                  # kubelet mounts volumes into containers
iptables -P FORWARD ACCEPT              # a Docker that ever ran leaves it at DROP
mkdir -p "$run/cni"
# Each pod on a link of its own: all its traffic passes the host's hooks, where NetworkPolicies are enforced.
cat >"$run/cni/10-pods.conflist" <<EOF
{"cniVersion": "1.0.0", "name": "test-pods", "plugins": [
  {"type": "ptp", "ipMasq": true, "ipam": {"type": "host-local", "dataDir": "$run/cni-addresses",
    "ranges": [[{"subnet": "$node_pod_cidr"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
cat >"$run/containerd.toml" <<EOF
version = 2
root = "$run/containerd"
state = "$run/containerd-state"
[grpc]
  address = "$socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true # a container without CAP_SYS_RESOURCE may not lower it
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$run/cni"
EOF
start containerd containerd --config "$run/containerd.toml"
until_ok 60 containerd ctr -a "$socket" version

# image <program> [user]: the program as localhost/<program>:1
image() {
    [[ -z $(ctrk images list -q "name==localhost/$1:1") ]] || return 0
    "$here/pack.sh" "$programs/$1" "localhost/$1:1" "$run/$1.tar" "${2:-65532:65532}"
    ctrk images import "$run/$1.tar" >/dev/null
    rm -f "$run/$1.tar"
}
image pause 65535:65535
image coredns 0:0
image traefik

grep -E '^(nameserver|options)' /etc/resolv.conf >"$run/resolv.conf" || true
cat >"$run/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
containerRuntimeEndpoint: unix://$socket
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: ["$dns_ip"]
clusterDomain: cluster.local
resolvConf: $run/resolv.conf
maxPods: 200
evictionHard: {memory.available: 200Mi, nodefs.available: "2%", imagefs.available: "2%"}
imageGCHighThresholdPercent: 100 # no registry has the images: none may be collected
imageGCLowThresholdPercent: 99
EOF
start kubelet "$programs/kubelet" --config="$run/kubelet.yaml" --kubeconfig="$run/kubelet.kubeconfig" --hostname-override="$node" \
    --node-ip="$node_ip" --root-dir="$run/kubelet"
cat >"$run/proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $run/proxy.kubeconfig}
mode: nftables
clusterCIDR: $pod_cidr
hostnameOverride: $node
conntrack: {maxPerCore: 0}
EOF
until_ok 90 kubelet kubectl get node "$node"
start kube-proxy "$programs/kube-proxy" --config="$run/proxy.yaml"
start enforce "$programs/enforce" -kubeconfig "$KUBECONFIG"
kubectl wait --for=condition=Ready "node/$node" --timeout=120s >/dev/null

# --- add-ons -------------------------------------------------------------------------------------------------------------------------
start provision "$here/provision.sh"
for definitions in traefik monitoring cert-manager; do
    kubectl apply --server-side --force-conflicts -f "$programs/$definitions.yaml" >/dev/null
done
kubectl wait --for=condition=Established --timeout=60s crd/middlewares.traefik.io crd/servicemonitors.monitoring.coreos.com crd/certificates.cert-manager.io >/dev/null
sed "s/@DNS_IP@/$dns_ip/; s/@NODE_IP@/$node_ip/" "$here/addons.yaml" | kubectl apply -f - >/dev/null
kubectl -n kube-system rollout status deployment/coredns --timeout=120s >/dev/null
kubectl -n traefik rollout status deployment/traefik --timeout=120s >/dev/null
until_ok 30 enforce grep -q enforcing "$logs/enforce.log"
say "the test cluster is up after $((SECONDS - begin)) s: export KUBECONFIG=$KUBECONFIG"
