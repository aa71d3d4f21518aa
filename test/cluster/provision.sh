#!/usr/bin/env bash
# Makes a volume for each claim of class "standard", and removes it with the claim. Runs beside the cluster, started by up.sh.
# The volumes are of kind `local`: those honour a pod's fsGroup, as disks in a cloud do, and hostPath volumes do not. They begin as
# root's, so that a pod that forgets fsGroup fails here too.
set -uo pipefail
source "$(dirname "$0")/env.sh"
volumes=$run/volumes
mkdir -p "$volumes"

pending() {
    kubectl get pvc -A -o jsonpath='{range .items[?(@.status.phase=="Pending")]}{.spec.storageClassName}{"\t"}{.spec.volumeName}{"\t"}{.metadata.namespace}{"\t"}{.metadata.name}{"\t"}{.metadata.uid}{"\t"}{.spec.resources.requests.storage}{"\t"}{.spec.accessModes[0]}{"\n"}{end}' 2>/dev/null
}
released() {
    kubectl get pv -o jsonpath='{range .items[?(@.status.phase=="Released")]}{.spec.persistentVolumeReclaimPolicy}{"\t"}{.metadata.name}{"\n"}{end}' 2>/dev/null
}

while sleep 1; do
    while IFS='|' read -r class bound namespace name uid size mode; do
        [[ $class == standard && -z $bound ]] || continue
        mkdir -p "$volumes/pvc-$uid"
        kubectl create -f - >/dev/null 2>&1 <<EOF
apiVersion: v1
kind: PersistentVolume
metadata: {name: pvc-$uid}
spec:
  capacity: {storage: $size}
  accessModes: [$mode]
  persistentVolumeReclaimPolicy: Delete
  storageClassName: standard
  claimRef: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: $namespace, name: $name, uid: $uid}
  local: {path: $volumes/pvc-$uid}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$node]}]}]}}
EOF
    done < <(pending | tr '\t' '|')
    while IFS='|' read -r policy name; do
        [[ $policy == Delete && -d $volumes/$name ]] && kubectl delete pv "$name" >/dev/null 2>&1 && rm -rf "${volumes:?}/$name"
    done < <(released | tr '\t' '|')
done
