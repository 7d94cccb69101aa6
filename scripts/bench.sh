#!/usr/bin/env bash
# The runs that README.md reports: relay, senders and receiver on this machine.
#
#   DURATION=30 RUNS=3 scripts/bench.sh [NAME...]     all runs, or those named
#
# Each run leaves target/bench-report/NAME.json (loadgen's report, with each single run in
# it), and one row of target/bench-report/table.md, which is printed at the end. A run that
# loses an acknowledged event ends the bench with status 1, after the others. The disk is
# shared on most machines: its own fdatasync p99 stands in each row.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${DURATION:-30}
runs=${RUNS:-3}
reports=target/bench-report
wanted=("$@")
failed=()
# Beside the build: the folder for temporary files may be memory, which syncs at no cost.
data=$reports/data
mkdir -p "$data"
# Thousands of connections need as many descriptors on both sides.
ulimit -n "$(ulimit -Hn)"

# First value of a key; the figures of the median run come before those of single runs.
number() { # KEY FILE
    grep -oE "\"$1\":[0-9.eE+-]+" "$2" | sed -n '1s/.*://p'
}

latency() { # KEY QUANTILE FILE
    grep -oE "\"$1\":\{[^}]*\}" "$3" | sed -n 1p | grep -oE "\"$2\":[0-9.eE+-]+" | sed 's/.*://'
}

row() { # NAME
    local file=$reports/$1.json ack="-" beside="-"
    if [[ $(latency ack_ms count "$file") != 0 ]]; then
        ack="$(latency ack_ms p50 "$file") / $(latency ack_ms p99 "$file")"
    fi
    if grep -q '"http_ack_ms":{' "$file"; then
        beside="$(latency http_ack_ms p50 "$file") / $(latency http_ack_ms p99 "$file")"
    fi
    echo "| $1 | $(number mb_per_s "$file") | $(number tb_per_day "$file")" \
        "| $(number relay_cpu_s_per_gb "$file") | $ack | $beside" \
        "| $(latency delivery_ms p99 "$file") | $(number relay_rss_peak_mb "$file")" \
        "| $(number lost "$file") / $(number duplicated "$file") / $(number out_of_order "$file")" \
        "| $(latency disk_fdatasync_ms p99 "$file") |"
}

measure() { # NAME ARGUMENT...
    local name=$1 status=0
    shift
    if ((${#wanted[@]})) && [[ " ${wanted[*]} " != *" $name "* ]]; then
        return
    fi
    echo "==> $name: loadgen run $*"
    target/release/loadgen run --relay target/release/weir --data-dir "$data" --print-disk --json "$@" \
        >"$reports/$name.json" || status=$?
    if ((status != 0)); then
        failed+=("$name (status $status)")
        grep -oE '"failures":\[[^]]*\]' "$reports/$name.json" | sed -n 1p || true
    fi
    if [[ -s $reports/$name.json ]]; then
        row "$name" | tee -a "$reports/table.md"
    fi
}

times=(--runs "$runs" --duration "${seconds}s")

{
    echo "| run | MB/s | TB/day | CPU s/GB | ack p50 / p99 ms | HTTP ack p50 / p99 ms | delivery p99 ms | memory MB | lost / duplicated / out of order | disk fdatasync p99 ms |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
} >"$reports/table.md"

# Throughput, 1.4 KB audit events.
measure tcp-8 --tcp-connections 8 "${times[@]}"
measure tcp-8-ack --tcp-connections 8 --ack "${times[@]}"
measure tcp-8-waf --tcp-connections 8 --kind waf "${times[@]}"

# Acknowledgement latency, open loop, alone and beside TCP flat out.
measure http-16 --http-connections 16 --http-rate 100MB "${times[@]}"
measure http-16-beside-tcp --http-connections 16 --http-rate 100MB --tcp-connections 8 "${times[@]}"

# Cost and memory by number of connections.
measure tcp-1 --tcp-connections 1 "${times[@]}"
measure tcp-64 --tcp-connections 64 "${times[@]}"
measure tcp-1000 --tcp-connections 1000 "${times[@]}"
measure tcp-8-idle-5000 --tcp-connections 8 --idle-connections 5000 "${times[@]}"

# A receiver that hangs for twice the duration (a minute by default), then drains.
measure receiver-hangs --tcp-connections 8 --tcp-rate 200MB --runs 1 \
    --duration "$((seconds * 5 / 2))s" --hang-after "$((seconds / 4))s" --hang-for "$((seconds * 2))s" \
    --drain-timeout 300s

echo
cat "$reports/table.md"
if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
