#!/usr/bin/env bash
# Makes the root file system that the test images of PostgreSQL and Valkey share, from the Debian packages that this machine can get.
#   debian.sh OUT.tar
# It takes the place of registries, which the machines that run the tests need not reach. Root is wanted: files belong to several users.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../../.." && pwd)
source "$repository/scripts/apt.sh"
out=$1

if ! command -v mmdebstrap >/dev/null; then
    can_install || { say "the test images are made with mmdebstrap: sudo apt-get install mmdebstrap"; exit 1; }
    say "installing mmdebstrap"
    refresh
    apt install --no-install-recommends mmdebstrap
fi
[[ $EUID -eq 0 ]] || { say "the test images are made by root: their files belong to several users"; exit 1; }

release=$(. /etc/os-release && echo "$VERSION_CODENAME")
sources=/etc/apt/sources.list.d/debian.sources
[[ -s $sources ]] || sources=/etc/apt/sources.list
work=$(mktemp -d)
trap 'rm -rf "$work" "$out.$$"' EXIT
chmod 755 "$work"
root=$work/root
# The proxy of this machine's apt, if it goes by one.
apt-config dump | grep -iE '^Acquire::[a-z]+::Proxy' >"$work/apt.conf" || true

say "making the root file system of the test images (once, about a minute)"
mmdebstrap --variant=minbase --aptopt="$work/apt.conf" --include=postgresql,redis-server "$release" "$root" "$sources" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; exit 1; }

# Not needed to run: documentation, package lists, the compiler behind PostgreSQL's JIT, the cluster that the package made.
rm -rf "$root"/usr/share/{doc,man,locale,info} "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
    "$root"/usr/lib/llvm-* "$root"/usr/lib/*/libLLVM* "$root"/usr/lib/postgresql/*/lib/llvmjit* \
    "$root"/var/lib/postgresql/* "$root"/etc/postgresql/* "$root"/etc/apt/apt.conf.d/99mmdebstrap "${root:?}"/dev/*

# As in the images that a cluster with a registry runs: PostgreSQL is user 999, its programs are in PATH, it listens everywhere.
sed -i 's/^postgres:x:[0-9]*:[0-9]*:/postgres:x:999:999:/' "$root/etc/passwd"
sed -i 's/^postgres:x:[0-9]*:/postgres:x:999:/' "$root/etc/group"
install -d -o 999 -g 999 -m 1777 "$root/var/lib/postgresql"
install -d -o 999 -g 999 -m 3777 "$root/run/postgresql"
install -d "$root/docker-entrypoint-initdb.d" "$root/data"
for program in "$root"/usr/lib/postgresql/*/bin/*; do ln -sf "${program#"$root"}" "$root/usr/local/bin/"; done
sed -i "s/^#\?listen_addresses = .*/listen_addresses = '*'/" "$root"/usr/share/postgresql/*/postgresql.conf.sample
ln -s /usr/bin/redis-server "$root/usr/local/bin/valkey-server"
ln -s /usr/bin/redis-cli "$root/usr/local/bin/valkey-cli"
install -m 755 "$here/files/postgres.sh" "$root/usr/local/bin/postgres.sh"
ln -s postgres.sh "$root/usr/local/bin/docker-entrypoint.sh"
install -m 755 "$here/files/valkey.sh" "$root/usr/local/bin/valkey.sh"

tar --numeric-owner --sort=name --mtime=@0 -C "$root" -cf "$out.$$" . # and renamed, so that nobody takes half of it
mv "$out.$$" "$out"
