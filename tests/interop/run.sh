#!/usr/bin/env bash
# Tests an independent client against a real relay and a real exec-server, on loopback, with new keys.
#
#   bash tests/interop/run.sh target/debug/baton
#
# Takes 20 s on an idle machine, and ends within ten minutes on any. Needs python3 with venv and pip; without them it
# prints the reason and exits with 77.
set -euo pipefail
if [ $# != 1 ] || [ ! -x "$1" ]; then
    echo "usage: bash tests/interop/run.sh PATH-OF-THE-BATON-BINARY" >&2
    exit 2
fi
baton=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
skip() { echo "skipped: $1"; exit 77; }
command -v python3 >/dev/null || skip 'there is no python3'
python3 -c 'import ensurepip, venv' 2>/dev/null || skip 'python3 has no venv or no pip'

work=$(mktemp -d)
children=()
cleanup() {
    [ ${#children[@]} = 0 ] || kill "${children[@]}" 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap cleanup EXIT
export HOME="$work/home" PYTHONDONTWRITEBYTECODE=1
unset XDG_CONFIG_HOME BATON_TICKET BATON_LOG TRACEPARENT TRACESTATE BAGGAGE
unset OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
mkdir "$HOME"

python3 -m venv "$work/venv"
python="$work/venv/bin/python"
timeout 240 "$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
    -r "$here/requirements.txt" ||
    { echo 'the requirements could not be installed' >&2; exit 1; }

# wait_for FILE PATTERN: waits for a line that begins with the pattern, and prints the rest of that line.
wait_for() {
    local line
    for _ in {1..100}; do
        line=$(sed -n "s/^$2//p" "$1" | head -n 1)
        [ -z "$line" ] || { echo "$line"; return; }
        sleep 0.1
    done
    echo "no line begins with '$2'; the logs:" >&2
    cat "$work"/*.log >&2
    return 1
}

# A fixed seed, 00 01 … 1f, so that the ticket can be computed.
(umask 077 && echo 'baton-key-v1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8' >"$work/server-key")
"$baton" keygen "$work/key" >"$work/public.log" 2>&1
"$baton" keygen "$work/stranger" >/dev/null 2>&1
sed -n 's/^\(Noise[^ ]*\) .*/\1 interop continue/p' "$work/public.log" >"$work/allow"

touch "$work/relay.log" "$work/server.log"
"$baton" relay --listen 127.0.0.1:0 >"$work/relay.log" 2>&1 &
children+=($!)
address=$(wait_for "$work/relay.log" 'listening on ')
"$baton" exec-server --relay "http://$address" --key "$work/server-key" --allow "$work/allow" >"$work/server.log" 2>&1 &
children+=($!)
ticket=$(wait_for "$work/server.log" 'ticket: ')

passed=0 failed=0
# check NAME COMMAND...: passes when the command does.
check() {
    local name=$1
    shift
    if [ "$SECONDS" -lt 600 ] && "$@" >"$work/check" 2>&1 </dev/null; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        sed 's/^/    /' "$work/check" "$work/out" "$work/err" 2>/dev/null | cut -c 1-300 | head -n 20
    fi
}

# client OPTIONS...: writes its output to $work/out and $work/err.
client() {
    timeout 60 "$python" "$here/client.py" --ticket "${use_ticket:-$ticket}" --key "${use_key:-$work/key}" "$@" \
        >"$work/out" 2>"$work/err"
}
code_is() {
    local expected=$1 code=0
    shift
    client "$@" || code=$?
    [ "$code" = "$expected" ] || { echo "expected exit code $expected, got $code"; return 1; }
}
prints() { [ "$(cat "$work/$1")" = "$2" ] || { echo "expected on $1: $2"; return 1; }; }
says() { grep -qF "$1" "$work/err" || { echo "expected on stderr: $1"; return 1; }; }

# altered FIELD=VALUE: prints the ticket with another value of the field.
altered() {
    (cd "$here" && "$python" -c "import sys, wire; t = wire.Ticket.parse(sys.argv[1]); t.$1; print(t.text())" "$ticket")
}
predicted_ticket() {
    (cd "$here" && "$python" -c 'import sys, wire; print(wire.Ticket.of_seed(bytes(range(32)), sys.argv[1]).text())' \
        "http://$address")
}
hints_steer_no_terminal() {
    local check='from client import hint; assert hint("a\x1b[2J\n\x9b\u202eb" + 999 * "c") == "a[2Jb" + 195 * "c"'
    (cd "$here" && "$python" -c "$check")
}

ticket_follows_from_key() { [ "$(predicted_ticket)" = "$ticket" ]; }
echo_works() { code_is 0 echo 'one two' && prints out 'one two' && prints err ''; }
exit_code() { code_is 3 sh -c 'exit 3' && prints out ''; }
stderr_is_apart() { code_is 0 sh -c 'echo out; echo err >&2' && prints out out && prints err err; }
signal_death() { code_is 137 sh -c 'kill -9 $$'; }
no_window() { code_is 0 --no-window -- head -c "$1" /dev/zero && [ "$(wc -c <"$work/out")" = "$1" ]; }
no_window_stdin() {
    code_is 0 --no-window --stdin -- cksum < <(head -c "$1" /dev/zero | tr '\0' x) &&
        prints out "$(head -c "$1" /dev/zero | tr '\0' x | cksum)"
}
output_of() { code_is 0 head -c "$1" /dev/zero && [ "$(wc -c <"$work/out")" = "$1" ]; }
stdin_of() {
    code_is 0 --stdin -- cksum < <(head -c "$1" /dev/zero | tr '\0' x) &&
        prints out "$(head -c "$1" /dev/zero | tr '\0' x | cksum)"
}
rekeys_under_output() {
    code_is 0 --rekey-after 20 -- sh -c 'seq 700000' && [ "$(cksum <"$work/out")" = "$(seq 700000 | cksum)" ] &&
        [ "$(sed 's/ rekeys//' "$work/err")" -ge 3 ]
}
rekeys_under_input() {
    code_is 0 --rekey-after 2 --stdin -- cksum < <(head -c 12582912 /dev/zero | tr '\0' x) &&
        prints out "$(head -c 12582912 /dev/zero | tr '\0' x | cksum)" && [ "$(sed 's/ rekeys//' "$work/err")" -ge 2 ]
}
not_found() { code_is 127 no-such-command && says COMMAND_NOT_FOUND; }
not_executable() { code_is 126 /etc/passwd && says NOT_EXECUTABLE; }
# shellcheck disable=SC2016 # The child expands it.
trace_continues() { code_is 0 --check-trace -- sh -c 'echo $TRACEPARENT'; }
malformed_trace_is_none() { code_is 0 --traceparent 00-nonsense-01 -- printenv TRACEPARENT; }
timings_come() {
    code_is 0 --timings -- echo x && "$python" - "$work/err" <<'PYTHON'
import json, sys
timings = json.load(open(sys.argv[1]))
stages = {stage["stage"]: stage for stage in timings["stages"]}
for name in ("server.open", "server.queue", "rpc", "process", "process.spawn", "process.wait", "process.close",
             "terminal.queue", "terminal.seal"):
    assert name in stages, f"no {name} in {sorted(stages)}"
end = lambda name: stages[name]["start_ns"] + stages[name]["duration_ns"]
assert stages["rpc"]["start_ns"] <= stages["process"]["start_ns"]
assert end("process") <= end("rpc") <= end("terminal.seal")
assert timings["terminal_relay"]["queue_ns"] > 0, "the relay's stamp is missing"
assert abs(timings["clock"]["offset_ns"]) <= timings["clock"]["error_ns"], "one machine, one clock"
PYTHON
}
turn_is_on_record() {
    code_is 0 --thread chat --turn 7 --step plan -- echo seven && code_is 0 --turn 8 -- echo eight &&
        "$baton" history --key "$work/key" --json --turn 7 "$ticket" >"$work/history" &&
        "$python" - "$work/history" <<'PYTHON'
import json, sys
[record] = map(json.loads, open(sys.argv[1]))
found = [record[key] for key in ("argv", "thread", "turn", "step")]
assert found == [["echo", "seven"], "chat", 7, "plan"], found
PYTHON
}
invalid_turn_and_step() {
    code_is 255 --turn 9223372036854775808 -- true && says INVALID_START && says 'a turn is a number' &&
        code_is 255 --step "$(printf 'x%.0s' {1..129})" -- true && says "a step's id has at most 128 bytes"
}
family_stages_come() {
    code_is 0 --timings --family jsonl -- sh -c "echo '{}'; sleep 0.5; echo answer" &&
        "$python" - "$work/err" <<'PYTHON'
import json, sys
stages = {stage["stage"]: stage for stage in json.load(open(sys.argv[1]))["stages"]}
ready, session, first = (stages[f"family.{name}"] for name in ("cli_ready", "session_init", "first_output"))
end = lambda stage: stage["start_ns"] + stage["duration_ns"]
assert end(ready) == session["start_ns"] and end(session) == first["start_ns"], stages
PYTHON
}
# files OPTIONS...: writes the answers of Files to $work/out, a line each.
files() {
    timeout 60 "$python" "$here/files.py" --ticket "$ticket" --key "$work/key" "$@" >"$work/out" 2>"$work/err"
}
stat_of_each_kind() {
    mkdir -p "$work/tree" && printf 12345 >"$work/tree/file" && chmod 640 "$work/tree/file" &&
        touch -d @1700000000.25 "$work/tree/file" && ln -sfn file "$work/tree/link" &&
        files --stat "$work/tree/file" --stat "$work/tree/link" --stat "$work/tree/none" --stat relative \
            --follow "$work/tree/link" --follow "$work/tree/../tree" &&
        "$python" - "$work/out" "$(realpath "$work/tree")" <<'PYTHON'
import json, sys
_, file, link, none, relative, target, tree = map(json.loads, open(sys.argv[1]))
root = sys.argv[2]
assert file == {"kind": "REGULAR_FILE", "size": 5, "mode": "0o640", "modified_ns": 1700000000250000000, "canonical": ""}, file
assert (link["kind"], link["size"], link["canonical"]) == ("SYMBOLIC_LINK", 4, ""), link
assert none == {"absent": "NOT_FOUND"}, none
assert relative == {"error": "INVALID_PATH", "grpc_status": 3}, relative
assert target == file | {"canonical": root + "/file"}, target
assert (tree["kind"], tree["canonical"]) == ("DIRECTORY", root), tree
PYTHON
}
find_up_finds_the_nearest() {
    mkdir -p "$work/up/a/b" && touch "$work/up/.interop-far" "$work/up/a/.interop-near" && ln -sfn up/a/b "$work/way" &&
        files --find-up "$work/way" .interop-none .interop-far .interop-near --find-up "$work/up/a/b" .interop-none \
            --find-up "$work/up/a/b/c" .interop-far --find-up "$work/up" a/b &&
        "$python" - "$work/out" "$(realpath "$work/up")" <<'PYTHON'
import json, sys
features, near, none, missing, bad = map(json.loads, open(sys.argv[1]))
root = sys.argv[2]
assert features["find_up_is_announced"], features
found = {"directory": root + "/a", "marker": ".interop-near", "depth": 1}
assert near == {"start": root + "/a/b", "unreadable": 0, "found": found}, near
assert (none["start"], none["found"]) == (root + "/a/b", None), none
assert missing == {"error": "NOT_FOUND", "grpc_status": 5}, missing
assert bad == {"error": "INVALID_MARKERS", "grpc_status": 3}, bad
PYTHON
}
searches_find_files_and_lines_in_order() {
    mkdir -p "$work/search/d" && printf 'target\n' >"$work/search/.gitignore" && printf 'one\ntwo\n' >"$work/search/a.txt" &&
        printf 'two\nx two\ntwo\n' >"$work/search/d/b.txt" && printf 'two' >"$work/search/target" &&
        printf 'two\0' >"$work/search/c.bin" && ln -sfn "$work" "$work/search/d/link" &&
        files --glob "$work/search" --glob "$work/search" 'd/*.txt' --glob "$work/search" '[' \
            --grep "$work/search" 'two$' --grep "$work/search" 'TWO' --grep "$work/search" '(' &&
        "$python" - "$work/out" <<'PYTHON'
import json, sys
_, everything, some, bad, lines, none, invalid = map(json.loads, open(sys.argv[1]))
complete = {"truncated": "COMPLETE", "unsearched": [0, 0]}
assert everything == complete | {"entries": [
    ["a.txt", "REGULAR_FILE"], ["c.bin", "REGULAR_FILE"], ["d", "DIRECTORY"], ["d/b.txt", "REGULAR_FILE"],
    ["d/link", "SYMBOLIC_LINK"]]}, everything
assert some == complete | {"entries": [["d/b.txt", "REGULAR_FILE"]]}, some
assert bad == invalid == {"error": "INVALID_SEARCH", "grpc_status": 3}, (bad, invalid)
# At most 3 matches, a line before each.
assert lines == complete | {"truncated": "RESULTS", "counts": [3, 3, 2, 1, 0, 0], "lines": [
    ["a.txt", 1, 0, "one", None], ["a.txt", 2, 4, "two", [0, 3]],
    ["d/b.txt", 1, 0, "two", [0, 3]], ["d/b.txt", 2, 4, "x two", [2, 5]]]}, lines
assert none == complete | {"counts": [0, 3, 0, 1, 0, 0], "lines": []}, none
PYTHON
}
deadline_is_the_servers_too() { code_is 255 --timeout 1 sleep 4 && says 'gRPC status 4'; }
wrong_key() { use_key="$work/stranger" code_is 255 true && says NOT_ALLOWED; }
broken_allow_list() {
    local code=0
    chmod o+w "$work/allow"
    code_is 255 true && says ALLOW_LIST_UNUSABLE || code=1
    chmod o-w "$work/allow"
    return $code
}
bad_line_of_allow_list() {
    local code=0 good
    good=$(cat "$work/allow")
    echo nonsense >>"$work/allow"
    code_is 0 true || code=1
    echo "$good" >"$work/allow"
    return $code
}
wrong_dial_token() { use_ticket=$(altered 'dial_token = bytes(32)') code_is 255 true && says PERMISSION_DENIED; }
wrong_exec_server() { use_ticket=$(altered 'exec_server_id = bytes(16)') code_is 255 true && says NOT_FOUND; }
wrong_pinned_key() { use_ticket=$(altered 'noise_key = bytes([9]) + bytes(31)') code_is 255 true && says 'no session'; }
lying_hint() { code_is 0 --version-hint 9 -- echo x && prints out x; }
hint_of_another_version() {
    use_ticket=$(altered 'noise_key = bytes([9]) + bytes(31)') code_is 255 --version-hint 9 -- true && says 'no session'
}
no_hello() { code_is 255 --no-hello -- true && says 'not Hello' && says PROTOCOL_ERROR; }
unknown_required() { code_is 255 --unknown-required -- sleep 5 && says 'type 127' && says PROTOCOL_ERROR; }
damaged_ticket() { use_ticket=${ticket%?} code_is 255 true && says 'damaged'; }

check 'the test vectors hold' "$python" "$here/vectors.py" "$here/../../docs/vectors"
check 'the ticket follows from the key file' ticket_follows_from_key
check "a peer's text is shown without control characters" hints_steer_no_terminal
check 'echo' echo_works
check 'exit code 3' exit_code
check 'a deadline that only the server watches' deadline_is_the_servers_too
check 'stderr is apart from stdout' stderr_is_apart
check 'death by a signal' signal_death
check '300 KiB of output' output_of 307200
check '5 MiB of output, over three windows of credit' output_of 5242880
check '5 MiB of stdin, over two windows of credit' stdin_of 5242880
check '5 MiB of output to a client without the window fields' no_window 5242880
check '3 MiB of stdin from a client without the window fields' no_window_stdin 3145728
check 'rekeys under 5 MiB of output' rekeys_under_output
check 'rekeys under 12 MiB of stdin' rekeys_under_input
check 'a command that is not found' not_found
check 'a file that is not executable' not_executable
check 'the child and Exited name the span that the client derives' trace_continues
check 'a malformed traceparent fails nothing' malformed_trace_is_none
check "the server's stages and the relay's stamp" timings_come
check 'thread, turn and step are on record' turn_is_on_record
check 'a turn and a step beyond their limits' invalid_turn_and_step
check 'the stages of a family whose session init is reported' family_stages_come
check 'the status of a path' stat_of_each_kind
check 'the nearest ancestor with a marker' find_up_finds_the_nearest
check 'files and lines below a directory' searches_find_files_and_lines_in_order
check 'a key that is not allowed' wrong_key
check 'an allow-list that others can write' broken_allow_list
check "an allow-list with a malformed line of another client" bad_line_of_allow_list
check 'a wrong dial token' wrong_dial_token
check 'an exec-server that is not registered' wrong_exec_server
check 'another pinned key' wrong_pinned_key
check 'a hint of another version, in a session of this one' lying_hint
check 'a hint of another version, with another pinned key' hint_of_another_version
check 'a session without Hello' no_hello
check 'a frame of an unknown required type' unknown_required
check 'a damaged ticket' damaged_ticket

if [ "$failed" != 0 ]; then
    # The likeliest cause: the relay or the exec-server has exited.
    for program in relay server; do
        echo "the last lines of $program.log:"
        tail -n 5 "$work/$program.log" | sed 's/^/    /'
    done
    for child in "${children[@]}"; do
        kill -0 "$child" 2>/dev/null || { code=0; wait "$child" || code=$?; echo "process $child exited with $code"; }
    done
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
