# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What script/bootstrap and script/install share: Debian packages. Sourced, never run.

# What the daemon needs of Debian.
run_packages=(ca-certificates curl iproute2 libbpf1 libjs-dygraphs linux-libc-dev procps python3 python3-bpfcc python3-venv)

# apt options of whoever installs from a folder instead of the network.
apt_options=()

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

missing_packages() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    done
}

check_system() {
    [[ $EUID -eq 0 ]] || fail "needs root to install packages and to load programs into the kernel; run it with sudo"
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
        fail "this is not Debian (no apt-get). Install by hand: ${run_packages[*]}, then see docs/operations.md"
}

check_python() {
    /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$(/usr/bin/python3 --version) is too old: Debian 12 (Python 3.11) or newer is needed"
}

# Another apt (unattended-upgrades on a fresh machine) may hold the locks for minutes.
apt() {
    local attempt
    for attempt in 1 2 3; do
        if DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
            ${apt_options[@]+"${apt_options[@]}"} "$@" </dev/null >>"$log" 2>&1; then
            return 0
        fi
        grep -q 'Could not get lock' "$log" || return 1
        sleep $((attempt * 10))
    done
    return 1
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    echo "$(basename "$0"): installing ${missing[*]}" >&2
    log=$(mktemp)
    # Package lists may be fresh enough; a first try without fetching them saves time, and works offline from a cache.
    apt install --no-install-recommends "${missing[@]}" ||
        { apt update && apt install --no-install-recommends "${missing[@]}"; } || {
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt could not install ${missing[*]} (see above). Is the network up, and are the Debian sources configured?"
    }
    rm -f "$log"
}
