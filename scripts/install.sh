#!/usr/bin/env bash
# Brings what a target of the Makefile needs.
#
#   install.sh need TOOL...    install what is missing, or print the one line to run and stop
#   install.sh want TOOL...    install what is missing if that works, go on without if not
#   install.sh has TOOL...     status 0 when all are there; installs nothing
#
# A tool is a command; `package_of` says which Debian package has it. As root, packages come
# by apt; nobody else is asked for a password. Nothing is started, enabled or removed:
# promtool and rsyslogd are unpacked below target/tools, because installing their packages
# starts a service.
set -euo pipefail
cd "$(dirname "$0")/.."

tools_dir=target/tools
export PATH="$PWD/$tools_dir/usr/bin:$PATH"

package_of() {
    case $1 in
    cc) echo gcc ;;
    git) echo git ;;
    nasm | autoconf | automake | make | shellcheck | openssl | curl) echo "$1" ;;
    libtoolize) echo libtool ;;
    # The C library's headers; a compiler can be there without them.
    libc-headers) echo libc6-dev ;;
    # For librdkafka; see docs/adr/0012.
    c++) echo g++ ;;
    pkg-config) echo pkg-config ;;
    openssl-headers) echo libssl-dev ;;
    java) echo default-jre-headless ;;
    mvn) echo maven ;;
    setsid | flock) echo util-linux ;;
    python-venv) echo python3-venv ;;
    *)
        echo "install.sh: no package is known for '$1'" >&2
        exit 2
        ;;
    esac
}

present() {
    case $1 in
    libc-headers) [[ -e /usr/include/stdio.h ]] ;;
    openssl-headers) [[ -e /usr/include/openssl/ssl.h ]] ;;
    python-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    # Ours, which comes with its TLS module; the system's may not.
    rsyslogd) [[ -x $tools_dir/usr/sbin/rsyslogd ]] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

missing() {
    local tool
    for tool in "$@"; do
        present "$tool" || echo "$tool"
    done
}

# Package lists older than a day are fetched again, once.
update_lists() {
    local stamp=target/.apt-updated
    if [[ -z $(find "$stamp" -mtime -1 2>/dev/null) ]]; then
        mkdir -p target
        DEBIAN_FRONTEND=noninteractive apt-get update -qq && touch "$stamp"
    fi
}

# unpack PATH PACKAGE...: takes what is below PATH out of packages, which needs package lists
# but not root.
unpack() {
    local path=$1 download package status=0
    shift
    mkdir -p "$tools_dir"
    download=$(mktemp -d)
    # Without its sandbox user, who cannot write into a fresh temporary folder.
    (cd "$download" && apt-get download -qq -o APT::Sandbox::User=root "$@") || status=1
    for package in "$download"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$tools_dir" --wildcards "$path" || status=1
    done
    rm -rf "$download"
    return $status
}

# The packages to install; what is unpacked has none.
packages_of() {
    local tool
    for tool in "$@"; do
        [[ $tool == promtool || $tool == rsyslogd ]] || package_of "$tool"
    done
}

# Installs what it may and can; what counts is what is there after.
bring() {
    local packages
    mapfile -t packages < <(packages_of "$@")
    command -v apt-get >/dev/null || return 0
    if [[ $(id -u) == 0 ]]; then
        echo "installing: $*"
        # A failed update may still leave usable lists.
        update_lists || true
        if ((${#packages[@]})); then
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "${packages[@]}" || true
        fi
    fi
    if [[ " $* " == *" promtool "* ]]; then
        unpack ./usr/bin/promtool prometheus || true
    fi
    if [[ " $* " == *" rsyslogd "* ]]; then
        # The C libraries beside these two come with every system.
        unpack './usr/*' rsyslog rsyslog-openssl libestr0 libfastjson4 || true
    fi
}

line_to_run() {
    local packages
    mapfile -t packages < <(packages_of "$@")
    if ((${#packages[@]})); then
        echo "sudo sh -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${packages[*]}'"
    else
        echo "sudo apt-get update"
    fi
}

verb=${1:?need, want or has}
shift
mapfile -t gone < <(missing "$@")
((${#gone[@]})) || exit 0
case $verb in
has)
    exit 1
    ;;
need | want)
    bring "${gone[@]}"
    mapfile -t gone < <(missing "${gone[@]}")
    ((${#gone[@]})) || exit 0
    if [[ $verb == want ]]; then
        echo "going on without: ${gone[*]} (to get them: $(line_to_run "${gone[@]}"))"
        exit 0
    fi
    if [[ $(id -u) == 0 ]]; then
        echo "apt could not deliver: ${gone[*]}. By hand:" >&2
    else
        echo "missing: ${gone[*]}. Run this, then try again:" >&2
    fi
    echo "  $(line_to_run "${gone[@]}")" >&2
    exit 1
    ;;
*)
    echo "install.sh: need, want or has, not '$verb'" >&2
    exit 2
    ;;
esac
