#!/usr/bin/env bash
# Proves `trace check`, `analyze`, `compare` and `gate` on recordings made here: fifty runs of the agent's loop, and
# pairs of recordings with a known delay. Takes about half a minute.
#
#   bash tests/analyze/run.sh BATON AGENT
#
# BATON is the binary `baton`, AGENT the example `agent` of baton-turn.
set -euo pipefail
if [ $# != 2 ]; then
    echo "usage: bash tests/analyze/run.sh BATON AGENT" >&2
    exit 2
fi
baton=$(realpath "$1") agent=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
# No configuration, key or record of this user takes part.
export HOME="$scratch" XDG_CONFIG_HOME="$scratch/config" XDG_STATE_HOME="$scratch/state"
unset OTEL_EXPORTER_OTLP_ENDPOINT TRACEPARENT TRACESTATE BAGGAGE

fail() {
    echo "failed: $*" >&2
    exit 1
}

# code EXPECTED COMMAND...: runs a command that must exit with this code. Its output goes to $scratch/out.
code() {
    local expected=$1 found=0
    shift
    "$@" >out 2>err || found=$?
    if [ "$found" != "$expected" ]; then
        cat out err >&2
        fail "exit code $found instead of $expected: $*"
    fi
}

# has PATTERN: the output of the last command has a line that matches.
has() {
    grep -Eq -- "$1" out || { cat out >&2; fail "nothing in the output matches $1"; }
}

runs=50 pairs=20

mkdir agent
for run in $(seq "$runs"); do
    "$agent" --trace-json "agent/$run.json" >/dev/null
done
code 0 "$baton" trace check agent
has ': no fault$'
code 0 "$baton" analyze --json --by turn agent
# A run has three commands in two turns, two searches for the root of the project, and a warm.
has "\"calls\":$((runs * 6)),"
for name in process.wait transit remainder ttft decode tool.dispatch; do
    has "\"$name\":\{"
done
code 0 "$baton" analyze --by turn --repeats agent
has '^no call repeats an earlier one of its turn'
echo "agent: $runs runs checked and analyzed"

# Pairs of blocks with a known delay, in turns, each in a process set of its own.
mkdir old new
for pair in $(seq "$pairs"); do
    order='old new'
    [ $((pair % 2)) = 0 ] && order='new old'
    for side in $order; do
        seconds=0.05
        [ "$side" = new ] && seconds=0.06
        for _ in 1 2; do
            "$baton" run --quiet --trace-json "$side/$pair.json" -- sleep "$seconds"
        done
    done
done
code 0 "$baton" trace check old new
code 0 "$baton" compare old old
code 1 "$baton" compare old new
has "^A: $((pairs * 2)) runs\. B: $((pairs * 2)) runs\. $pairs interleaved pairs\.$"
has '^verdict: regression: slower: process\.wait \+'
echo 'compare: the delay is in process.wait'

cat >rules.toml <<'RULES'
[outcomes]
ship = 0
slower = 7
not_enough_data = 3

[sets]
attribute = "build"

[[rule]]
outcome = "slower"
any = [{ difference = "process.wait", from = "old", to = "new", at_least = "5 %" }]

[otherwise]
outcome = "ship"
RULES
for verdict in first second; do
    code 7 "$baton" gate rules.toml old=old new=new --block file --verdict "$verdict.json"
done
cmp first.json second.json || fail 'the verdicts of one recording differ'
code 0 "$baton" gate rules.toml old=old new=old --block file
echo 'gate: the same verdict twice, byte by byte'
