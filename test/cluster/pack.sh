#!/usr/bin/env bash
# Packs one static program as an image archive: nothing else is in it but the system's certificates, and it runs as entry point.
#   pack.sh PROGRAM REFERENCE OUT.tar [USER]
set -euo pipefail
program=$1 reference=$2 out=$3 user=${4:-65532:65532}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/tmp" "$work/root/etc/ssl/certs" "$work/image/blobs/sha256"
chmod 755 "$work/root"
chmod 1777 "$work/root/tmp"
install -m 755 "$program" "$work/root/"
[[ ! -s /etc/ssl/certs/ca-certificates.crt ]] || cp /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/"

# blob <file>: moves it where the layout wants it and prints "digest":…,"size":… of it
blob() {
    local digest size
    digest=$(sha256sum "$1" | cut -d' ' -f1) size=$(stat -c %s "$1")
    mv "$1" "$work/image/blobs/sha256/$digest"
    printf '"digest":"sha256:%s","size":%s' "$digest" "$size"
}
type=application/vnd.oci.image
tar --numeric-owner --owner=0 --group=0 --sort=name --mtime=@0 -C "$work/root" -cf "$work/layer" .
diff=$(sha256sum "$work/layer" | cut -d' ' -f1)
layer=$(blob "$work/layer")
printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/%s"],"User":"%s"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(dpkg --print-architecture)" "$(basename "$program")" "$user" "$diff" >"$work/config"
printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar",%s}]}' \
    "$type" "$type" "$(blob "$work/config")" "$type" "$layer" >"$work/manifest"
printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json",%s,"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}]}' \
    "$type" "$(blob "$work/manifest")" "$reference" "${reference##*:}" >"$work/image/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$work/image/oci-layout"
tar -C "$work/image" -cf "$out" oci-layout index.json blobs
