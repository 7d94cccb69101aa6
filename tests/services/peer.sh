# shellcheck shell=bash
# What the scripts beside this file share: where a peer keeps its things, how its process is
# started, awaited and ended, what they all need. Sourced, never run; what a peer is and how
# it is configured stands in its own script.
#
# The caller sets `peer` (its name). A peer's process is known by the number in `pid` and by
# its command line, which names its folder: a number that the system gave to somebody else
# meanwhile is not ours, and nothing is ever ended by name.

services_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$services_dir/../.." && pwd)
# What is downloaded; outlives `make clean`.
cache=${WEIR_SERVICES_CACHE:-$services_dir/.cache}
# What a run makes: data, logs, keys. A second set of peers takes another folder and ports.
state=${WEIR_SERVICES_DIR:-$tree/target/services}
place=$state/${peer:?the caller names its peer}
pid_file=$place/pid
log=$place/log
env_file=$place/env

log_lines_shown=30
stop_seconds_max=15

say() {
    echo "$peer: $*"
}

fail() {
    say "$*" >&2
    exit 1
}

# Fails with the end of the peer's own log.
fail_with_log() {
    say "$*; the end of $log:" >&2
    tail -n "$log_lines_shown" "$log" >&2 || true
    exit 1
}

# Runs the rest of the script alone; a second caller waits for the first.
alone() {
    mkdir -p "$place"
    exec 9>"$place/lock"
    flock -w 300 9 || fail "another start or stop holds $place/lock"
}

running() {
    local pid
    pid=$(cat "$pid_file" 2>/dev/null) || return 1
    [[ -n $pid ]] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$place/"
}

# listens PORT: whether anybody listens there. Asks the system: a connection only to look would
# stand in a peer's log as a failed handshake.
listens() {
    grep -qE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$1") [0-9A-F]+:0000 0A" \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# need_free_port PORT...: an answer from somebody else's server would look like our own.
need_free_port() {
    local port
    for port in "$@"; do
        if listens "$port"; then
            fail "port $port is in use by something this script did not start (other ports: see README.md)"
        fi
    done
}

# launch COMMAND...: starts the peer in the background, free of the caller's terminal, pipes
# and lock. The command line has to name a path below $place.
launch() {
    setsid "$@" >>"$log" 2>&1 </dev/null 9>&- &
    echo $! >"$pid_file"
    # Until it is COMMAND and no longer this shell.
    until running || ! kill -0 "$!" 2>/dev/null; do
        sleep 0.01
    done
}

# await SECONDS WHAT COMMAND...: until COMMAND succeeds; ends the script when the peer has
# ended or the time is over.
await() {
    local seconds=$1 what=$2 began=$SECONDS
    shift 2
    until "$@" >"$place/last-try" 2>&1; do
        running || fail_with_log "ended before: $what"
        if ((SECONDS - began >= seconds)); then
            end_process KILL
            cat "$place/last-try" >&2
            fail_with_log "not within $seconds s: $what"
        fi
        sleep 0.1
    done
}

# end_process SIGNAL: sends it and waits; what does not go is killed.
end_process() {
    local began=$SECONDS
    running || return 0
    kill -"$1" "$(cat "$pid_file")" 2>/dev/null || true
    while running; do
        if ((SECONDS - began >= stop_seconds_max)); then
            kill -KILL "$(cat "$pid_file")" 2>/dev/null || true
        fi
        sleep 0.05
    done
}

stop_peer() {
    if running; then
        end_process TERM
        say "stopped"
    else
        say "was not running"
    fi
    rm -f "$pid_file"
}

show_status() {
    if running; then
        say "runs as process $(cat "$pid_file"), addresses and keys in $env_file"
    else
        say "does not run"
        return 1
    fi
}

# The Python programs of requirements.txt; sets `venv`.
need_venv() {
    local wanted=$services_dir/requirements.txt
    venv=$cache/venv
    mkdir -p "$cache"
    (
        flock -w 300 8 || fail "another download holds $cache/lock"
        if ! cmp -s "$wanted" "$venv/installed"; then
            say "installing $(grep -v '^#' "$wanted" | tr '\n' ' ')"
            rm -rf "$venv"
            python3 -m venv "$venv"
            "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
            cp "$wanted" "$venv/installed"
        fi
    ) 8>"$cache/lock"
}

# The certificates of all peers, made once; sets `certificates`.
need_certificates() {
    certificates=$state/certificates
    mkdir -p "$state"
    (
        flock -w 60 8 || fail "another start holds $state/lock"
        [[ -e $certificates/complete ]] || "$services_dir/certificates" "$certificates"
    ) 8>"$state/lock"
}
