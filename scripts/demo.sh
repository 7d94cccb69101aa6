#!/usr/bin/env bash
# The demo: a relay on its embedded configuration takes events over TCP and HTTP and writes
# them to files, and the load generator verifies that what was acknowledged is there, once,
# in order and unchanged. Then a short run with delivery over HTTP, and its report.
#
# Works in a fresh folder below target/, on the loopback ports of the embedded configuration
# (9000, 9001, 9600), and stops the relay it started. Builds nothing: `make demo` does.
set -euo pipefail
cd "$(dirname "$0")/.."

weir=$PWD/target/release/weir
loadgen=$PWD/target/release/loadgen
tcp=127.0.0.1:9000
http=http://127.0.0.1:9001/v1/events
metrics=http://127.0.0.1:9600/metrics

# Beside the build, because the folder for temporary files may be memory.
place=$(mktemp -d "$PWD/target/demo.XXXXXX")
relay=
# Our relay only, by its number; the folder stays when something went wrong.
cleanup() {
    local status=$?
    if [[ -n $relay ]] && kill -0 "$relay" 2>/dev/null; then
        kill -TERM "$relay"
        wait "$relay" || true
    fi
    if ((status == 0)); then
        rm -rf "$place"
    else
        echo "the demo failed; its folder is $place, the relay's last words:" >&2
        tail -n 20 "$place/relay.log" >&2 || true
    fi
}
trap cleanup EXIT

say() {
    printf '\n==> %s\n' "$*"
}

# GET of a path of the admin listener; curl may not be there, bash is.
admin_get() {
    exec 3<>/dev/tcp/127.0.0.1/9600 || return 1
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
    cat <&3
    exec 3>&- 3<&-
}

is_ready() {
    local answer
    answer=$(admin_get /readyz 2>/dev/null) || return 1
    [[ $answer == "HTTP/1.1 200"* ]]
}

say "starting a relay in $place"
(cd "$place" && exec "$weir" run) >"$place/relay.log" 2>&1 &
relay=$!
for _ in {1..300}; do
    if ! kill -0 "$relay" 2>/dev/null; then
        echo "the relay ended before it was ready (is one of the ports in use?)" >&2
        exit 1
    fi
    if is_ready; then break; fi
    sleep 0.1
done
is_ready || {
    echo "the relay was not ready within 30 s" >&2
    exit 1
}
cat "$place/relay.log"

say "100,000 audit events over TCP, 8 connections"
"$loadgen" send --tcp "$tcp" --connections 8 --events 100000 --state "$place/tcp.state"

# Other sender numbers than the first ones, so that both can be told apart in one file.
say "20,000 events over HTTP, 4 connections; each 200 says: on disk, synced"
"$loadgen" send --http "$http" --connections 4 --sender-base 100 --events 20000 --state "$place/http.state"

say "the relay's ledger, from $metrics"
admin_get /metrics | grep -E '^weir_.*(received|stored|rejected|delivered|pending)' || true

say "stopping the relay; it delivers what is open first"
kill -TERM "$relay"
status=0
wait "$relay" || status=$?
relay=
if ((status != 0)); then
    echo "the relay ended with status $status" >&2
    exit 1
fi

say "verifying the delivered files against what the senders know was acknowledged"
for sender in tcp http; do
    echo "-- $sender"
    "$loadgen" verify --files "$place/weir-data/out/events*" --state "$place/$sender.state"
done

say "5 seconds flat out over TCP, delivered over HTTP as gzip, verified"
"$loadgen" run --relay "$weir" --data-dir "$place" --tcp-connections 8 --duration 5s

say "done: every acknowledged event arrived"
cat <<EOF
To play with it:     cd \$(mktemp -d) && $weir run
Send it something:   curl -d '{"message":"hello"}' $http
Watch it:            curl $metrics
EOF
