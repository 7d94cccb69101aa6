#!/usr/bin/env bash
# What a dead destination costs the others, and how fast a stream that was away comes back.
#
#   DURATION=20 ROUNDS=3 scripts/isolation.sh [flat|paced|catch-up]...     all, or those named
#
# flat      one stream as fast as senders can, alone and beside a stream whose endpoint hangs
#           and one whose endpoint refuses; its throughput counts
# paced     the same at RATE (100MB) a second; the time from received to delivered counts
# catch-up  the endpoint is away while RATE a second come in, and comes back when ingest is
#           over; the speed at which the backlog drains counts, against that of flat alone
#
# The two sides of a comparison are run in turn, so that a machine that gets slower does so
# for both; each figure is the median of its rounds. Each run leaves its report in
# target/isolation/. A run that loses an acknowledged event ends the script with status 1,
# after the others; a missed goal is shown, and ends nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${DURATION:-20}
rounds=${ROUNDS:-3}
rate=${RATE:-100MB}
programs=${PROGRAMS:-target/release}
reports=target/isolation
wanted=("$@")
failed=()
# Beside the build: the folder for temporary files may be memory, which syncs at no cost.
data=$reports/data
mkdir -p "$data"
ulimit -n "$(ulimit -Hn)"

wants() { # NAME
    ((${#wanted[@]} == 0)) || [[ " ${wanted[*]} " == *" $1 "* ]]
}

measure() { # NAME ROUND ARGUMENT...
    local file=$reports/$1-$2.json name=$1 round=$2 status=0
    shift 2
    echo "==> $name, round $round: loadgen run $*" >&2
    "$programs/loadgen" run --relay "$programs/weir" --data-dir "$data" --json \
        --tcp-connections 8 --drain-timeout 300s "$@" >"$file" || status=$?
    if ((status != 0)); then
        failed+=("$name, round $round (status $status)")
        grep -oE '"failures":\[[^]]*\]' "$file" >&2 || true
    fi
}

# The median over the rounds of what sed takes from each report.
median() { # NAME SCRIPT
    local round
    for ((round = 1; round <= rounds; round++)); do
        sed -nE "$2" "$reports/$1-$round.json"
    done | sort -g | awk '{ all[NR] = $1 } END { print NR ? all[int((NR + 1) / 2)] : "-" }'
}

speed='s/.*"mb_per_s":([0-9.e+-]+).*/\1/p'
receiving='s/.*"receiving_mb_per_s":([0-9.e+-]+).*/\1/p'
delivery='s/.*"delivery_ms":\{"p50":[0-9.e+-]+,"p99":([0-9.e+-]+).*/\1/p'
memory='s/.*"relay_rss_peak_mb":([0-9.e+-]+).*/\1/p'

row() { # WHAT FIRST SECOND GOAL
    local ratio
    ratio=$(awk -v first="$2" -v second="$3" 'BEGIN { print (first > 0 ? sprintf("%.2f", second / first) : "-") }')
    echo "| $1 | $2 | $3 | $ratio | $4 |" >>"$reports/table.md"
}

{
    echo "| figure | first | second | second / first | goal |"
    echo "| --- | --- | --- | --- | --- |"
} >"$reports/table.md"

for ((round = 1; round <= rounds; round++)); do
    if wants flat || wants catch-up; then
        measure flat-alone "$round" --duration "${seconds}s"
    fi
    if wants flat; then
        measure flat-beside "$round" --duration "${seconds}s" --beside-dead
    fi
    if wants paced; then
        measure paced-alone "$round" --duration "${seconds}s" --tcp-rate "$rate"
        measure paced-beside "$round" --duration "${seconds}s" --tcp-rate "$rate" --beside-dead
    fi
    if wants catch-up; then
        # Without the short delay the two journals would begin at different times.
        measure catch-up "$round" --duration "${seconds}s" --tcp-rate "$rate" \
            --down-for "$((seconds + 1))s" --retry-delay-max 500ms
    fi
done

if wants flat; then
    row "flat out, alone / beside dead streams, MB/s" \
        "$(median flat-alone "$speed")" "$(median flat-beside "$speed")" "at least 0.80"
    row "flat out, relay's memory, MB" \
        "$(median flat-alone "$memory")" "$(median flat-beside "$memory")" "bounded"
fi
if wants paced; then
    row "at $rate/s, received to delivered p99, ms" \
        "$(median paced-alone "$delivery")" "$(median paced-beside "$delivery")" "at most 1.20"
    row "at $rate/s, relay's memory, MB" \
        "$(median paced-alone "$memory")" "$(median paced-beside "$memory")" "bounded"
fi
if wants catch-up; then
    row "delivery live, flat out / catching up with ingest idle, MB/s" \
        "$(median flat-alone "$receiving")" "$(median catch-up "$receiving")" "at least 0.50"
fi

echo
cat "$reports/table.md"
if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
