#!/usr/bin/env bash
# Brings what a target of the Makefile needs.
#
#   install.sh need TOOL...    install what is missing, or print the one line to run and stop
#   install.sh want TOOL...    install what is missing if that works, go on without if not
#   install.sh has TOOL...     status 0 when all are there; installs nothing
#
# A tool is a command; `package_of` says which Debian package has it. As root, packages come
# by apt; nobody else is asked for a password. Nothing is started, enabled or removed:
# promtool is unpacked below target/tools, because its package would start a service.
set -euo pipefail
cd "$(dirname "$0")/.."

tools_dir=target/tools
export PATH="$PWD/$tools_dir/usr/bin:$PATH"

package_of() {
    case $1 in
    cc) echo gcc ;;
    git) echo git ;;
    nasm | autoconf | automake | make | shellcheck) echo "$1" ;;
    libtoolize) echo libtool ;;
    # The C library's headers; a compiler can be there without them.
    libc-headers) echo libc6-dev ;;
    promtool) echo prometheus ;;
    *)
        echo "install.sh: no package is known for '$1'" >&2
        exit 2
        ;;
    esac
}

present() {
    case $1 in
    libc-headers) [[ -e /usr/include/stdio.h ]] ;;
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
        DEBIAN_FRONTEND=noninteractive apt-get update -q && touch "$stamp"
    fi
}

# Unpacks one package below target/tools, without installing it.
unpack() {
    local download
    download=$(mktemp -d)
    (cd "$download" && apt-get download -q "$1") && dpkg-deb -x "$download"/*.deb "$tools_dir"
    local status=$?
    rm -rf "$download"
    return $status
}

apt_install() {
    local tool packages=()
    for tool in "$@"; do
        [[ $tool == promtool ]] || packages+=("$(package_of "$tool")")
    done
    if ((${#packages[@]})); then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" || return 1
    fi
    if [[ " $* " == *" promtool "* ]]; then
        mkdir -p "$tools_dir"
        unpack prometheus || return 1
    fi
}

# The line a user runs. `promtool` is on it as its package, without starting the service.
line_to_run() {
    local tool packages=()
    for tool in "$@"; do
        packages+=("$(package_of "$tool")")
    done
    echo "sudo sh -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${packages[*]}'"
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
    able=no
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        able=yes
        echo "installing: ${gone[*]}"
        # A failed update may still leave usable lists; what counts is what is there after.
        update_lists || true
        apt_install "${gone[@]}" || true
        mapfile -t gone < <(missing "${gone[@]}")
        ((${#gone[@]})) || exit 0
    fi
    if [[ $verb == want ]]; then
        echo "going on without: ${gone[*]} (to get them: $(line_to_run "${gone[@]}"))"
        exit 0
    fi
    if [[ $able == yes ]]; then
        echo "apt could not deliver: ${gone[*]}" >&2
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
