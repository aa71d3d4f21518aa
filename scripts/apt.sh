# Sourced by the install scripts: installing Debian packages, quietly and without starting any service.

# say writes to stderr: a script's stdout is for its caller.
say() { echo "$*" >&2; }

# can_install: there is apt-get, and we are root or may become it without being asked for a password.
can_install() {
    command -v apt-get >/dev/null || return 1
    [[ $EUID -eq 0 ]] || sudo -n true 2>/dev/null
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo -n "$@"; fi
}

apt_log=
apt() {
    [[ -n $apt_log ]] || apt_log=$(mktemp)
    # Another apt-get may be at work, as right after a machine's first boot.
    if ! as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
        apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@" >"$apt_log" 2>&1 </dev/null; then
        say "apt-get $* failed:"
        tail -n 20 "$apt_log" >&2
        rm -f "$apt_log"
        return 1
    fi
    rm -f "$apt_log"
    apt_log=
}

# refresh updates the package lists once. A source that cannot be reached is no reason to stop: the package may be in another.
refreshed=
refresh() {
    [[ -n $refreshed ]] || apt update || say "going on with the package lists that there are"
    refreshed=yes
}
