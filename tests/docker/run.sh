#!/usr/bin/env bash
# The compose file against a real engine: commands run from the client's container in the exec-servers', through the relay's; one whole trace
# of the three arrives at a receiver; each container is killed once and comes back; and what the file promises of keys, tickets, the
# allow-list and privileges holds.
#
#   tests/docker/run.sh BATON OTLP_RECEIVER      both built on this machine
#
# It starts an engine of its own, in namespaces of its own, and leaves nothing behind. It needs root, the engine and docker-compose; exit code
# 77 says that one is missing. COMPOSE is the command to use in place of docker-compose, to try another version. No registry is asked for
# anything, so two things are not what a user gets:
# - `rust` and `debian` are made from this machine's own shell and libraries, and `cargo` in the former hands out BATON, which was built
#   before. Every other line of the Dockerfile runs as it stands, but for the digests.
# - Jaeger is replaced by OTLP_RECEIVER (smoke.yml).
set -euo pipefail

cannot() {
    echo "$*"
    exit 77
}

[ $# = 2 ] || { echo "usage: $0 BATON OTLP_RECEIVER" >&2; exit 2; }
baton=$(realpath "$1") receiver=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
read -ra compose_command <<<"${COMPOSE:-docker-compose}"
# Debian's own client: it fits Debian's engine.
docker=/usr/bin/docker
[ "$(id -u)" = 0 ] || cannot "an engine needs root"
for tool in dockerd "${compose_command[0]}" unshare ldd "$docker"; do
    command -v "$tool" >/dev/null || cannot "$tool is missing: apt-get install docker.io docker-compose"
done

# Again, where no network, process or mount is anybody else's: all of it ends with the first process there.
if [ -z "${BATON_SMOKE_SCRATCH:-}" ]; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    unshare --net true 2>/dev/null || cannot "this machine allows no namespaces"
    BATON_SMOKE_SCRATCH=$scratch unshare --net --mount --pid --fork --kill-child --mount-proc "$0" "$baton" "$receiver"
    exit
fi

# await SECONDS WHAT COMMAND...: until the command succeeds.
await() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "waited in vain: $what"
        sleep 0.2
    done
}

scratch=$BATON_SMOKE_SCRATCH
ip link set lo up
dockerd --data-root "$scratch/data" --exec-root "$scratch/exec" --pidfile "$scratch/pid" --host "unix://$scratch/docker.sock" \
    >"$scratch/dockerd.log" 2>&1 &
export DOCKER_HOST="unix://$scratch/docker.sock"
fail() {
    cat "$scratch/dockerd.log"
    cannot "no engine comes up here"
}
await 60 "the engine" "$docker" info

# program FILE...: into the root being made, each with the libraries that it loads.
root=$scratch/root
program() {
    local file library
    for file in "$@"; do
        cp -L "$file" "$root/usr/bin/"
        { ldd "$file" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
            mkdir -p "$root$(dirname "$library")"
            cp -nL "$library" "$root$library"
        done
    done
}
import() {
    tar -C "$root" --owner=0 --group=0 -c . | "$docker" import - "$1" >/dev/null
}

mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/etc" "$root/tmp"
chmod 1777 "$root/tmp"
ln -s usr/bin "$root/bin"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
# All that the image uses of a base, and what is tried below.
for name in sh cat find flock grep install mkdir mv rm sleep touch uname; do
    program "$(command -v "$name")"
done
# What BATON loads a base image has.
program "$baton"
rm "$root/usr/bin/$(basename "$baton")"
import debian:bookworm-slim

cp "$baton" "$root/built"
printf '#!/bin/sh\nexec install -D /built target/release/baton\n' >"$root/usr/bin/cargo"
chmod +x "$root/usr/bin/cargo"
import rust:1.95-bookworm

rm -rf "$root/built" "$root/usr/bin/cargo"
program "$receiver"
mv "$root/usr/bin/$(basename "$receiver")" "$root/otlp_receiver"
import baton-otlp-receiver

# A copy, so that a source can be changed.
source=$scratch/source
mkdir "$source"
tar -C "$here/../.." --exclude=./target --exclude=./.git --exclude='./*/target' -c . | tar -C "$source" -x
compose() {
    "${compose_command[@]}" --project-name baton-smoke --file "$source/docker-compose.yml" --file "$here/smoke.yml" "$@"
}
# Fails with everything that the parts have said.
fail() {
    echo "$*"
    compose ps -a || compose ps
    compose logs --no-color
    exit 1
}

compose config --quiet
# No engine starts the fleet here: there is no image of HAProxy. tests/fleet runs its file.
"${compose_command[@]}" --file "$source/docker-compose.fleet.yml" config --quiet
# Once, and the dependencies again only with the manifests. By the classic builder, which every engine up to now has.
export DOCKER_BUILDKIT=0
compose build >"$scratch/built" 2>&1 || { cat "$scratch/built"; fail "no image"; }
echo '// changed' >>"$source/cli/src/main.rs"
compose build >"$scratch/built" 2>&1 || { cat "$scratch/built"; fail "no image the second time"; }
# Of the two steps with cargo the first comes from the cache, the second does not.
cached=$(awk '/: RUN .*cargo build/ { asked = 1; next } asked { printf "%s ", /Using cache/ ? "cached" : "run"; asked = 0 }' "$scratch/built")
[ "$cached" = 'cached run ' ] || { cat "$scratch/built"; fail "expected the dependencies from the cache, got: $cached"; }
[ "$("$docker" images -q baton | wc -l)" = 1 ] || fail "more than one image of Baton"

compose up --detach --scale exec-server=2 || fail "it does not come up"

# client OPTIONS... -- COMMAND...: runs a command as a user would.
client() {
    local options=()
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    compose run --rm -T ${options[@]+"${options[@]}"} client "${@:2}" </dev/null
}
# setup SCRIPT: as the owner of the allow-list does.
setup() {
    compose run --rm -T --entrypoint sh setup -euc "$1" </dev/null
}
expect() {
    [ "$2" = "$3" ] || fail "$1: expected '$3', got '$2'"
}

trace=4bf92f3577b34da6a3ce929d0e0e4736 caller=00f067aa0ba902b7
code=0
out=$(client -e "TRACEPARENT=00-$trace-$caller-01" -- sh -c 'cat /etc/hostname; exit 7' 2>"$scratch/err") || code=$?
[ "$code" = 7 ] || { cat "$scratch/err"; fail "expected exit code 7, got $code"; }
first=$out
second=$(client -e BATON_TICKET_FILE=/tickets/2 -- cat /etc/hostname) || fail "no second exec-server"
ids=$(compose ps -q exec-server | cut -c 1-12 | sort)
expect "two exec-servers, each by its ticket" "$(printf '%s\n%s\n' "$first" "$second" | sort)" "$ids"
compose run --rm -T --entrypoint baton client exec --trace -- uname -a </dev/null 2>"$scratch/drawn" || fail "exec --trace fails"
grep -q '^trace ' "$scratch/drawn" || { cat "$scratch/drawn"; fail "no waterfall"; }
tickets() {
    compose run --rm -T --entrypoint sh client -c 'cat /tickets/1 /tickets/2' </dev/null
}
tickets_before=$(tickets)
expect "two tickets" "$(sort -u <<<"$tickets_before" | grep -c '^baton1:')" 2

# One trace: one root below the caller, no span without its parent, and every stage of a cold call that printed to stdout.
cat >"$scratch/check.awk" <<'AWK'
$1 == trace { parent[$2] = $3; services[$4] = 1; stages[$5] = 1; count++ }
END {
    for (span in parent) {
        if (parent[span] == caller) roots++
        else if (!(parent[span] in parent)) { print "the parent of " span " is missing: " parent[span]; bad = 1 }
    }
    if (roots != 1) { print roots + 0 " spans below the caller"; bad = 1 }
    split(expected_services, names, " ")
    for (i in names) if (!(names[i] in services)) { print "no span of " names[i]; bad = 1 }
    split(expected_stages, names, " ")
    for (i in names) if (!(names[i] in stages)) { print "no stage " names[i]; bad = 1 }
    print count + 0 " spans"
    exit bad
}
AWK
services='baton-client baton-exec-server baton-relay'
stages='call dispatch connect.dial connect.pair connect.handshake client.queue client.seal transit relay.queue server.open
    server.queue rpc process process.spawn process.first_output process.stdout process.wait process.close terminal.queue terminal.seal
    terminal.transit terminal.relay.queue terminal.open terminal.notify'
trace_is_whole() {
    "$docker" logs "$(compose ps -q jaeger)" >"$scratch/spans"
    awk -v trace=$trace -v caller=$caller -v expected_services="$services" -v expected_stages="${stages//$'\n'/ }" \
        -f "$scratch/check.awk" "$scratch/spans" >"$scratch/checked"
}
for _ in $(seq 100); do
    if trace_is_whole; then break; fi
    sleep 0.3
done
trace_is_whole || { cat "$scratch/checked"; fail "the trace is not whole"; }
cat "$scratch/checked"

# What a command, and with it a client, may do in the exec-server's container; and the client in its own.
out=$(client -- sh -c 'grep -E "^(CapEff|CapBnd|NoNewPrivs):" /proc/self/status | cat
    if (: >/file) 2>/dev/null; then echo "root is writable"; fi
    if (: >>/allow/allowed_clients) 2>/dev/null; then echo "the list is writable"; fi
    if (: >/allow/other) 2>/dev/null; then echo "its folder is writable"; fi
    : >/tmp/file; : >file; rm file')
expect "privileges of a command" "$(tr -s '\t0' ' 0' <<<"$out")" "$(printf 'CapEff: 0\nCapBnd: 0\nNoNewPrivs: 1')"
out=$(compose run --rm -T --entrypoint sh client -c 'for file in /allow/allowed_clients /tickets/3 /file; do
    if (: >>$file) 2>/dev/null; then echo "$file is writable"; fi; done' </dev/null)
expect "what a client's container can write" "$out" ""
for id in $(compose ps -q); do
    limits=$("$docker" inspect --format '{{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}' "$id")
    [[ $limits == '[ALL] [no-new-privileges:true] '[1-9]*' '[1-9]* ]] || fail "limits of a container: $limits"
done

# The list is the owner's: a line taken off stays off, whatever comes up again, and so does one added.
list=$(setup 'cat /allow/allowed_clients')
grep -q ' baton@client ' <<<"$list" || fail "the client is not on the list: $list"
setup 'echo "# nobody" >/allow/allowed_clients'
compose up --detach --scale exec-server=2 || fail "it does not come up again"
code=0
client -- sh -c : 2>"$scratch/refused" || code=$?
[ "$code" = 255 ] && grep -q 'not allowed' "$scratch/refused" || { cat "$scratch/refused"; fail "a client off the list: exit code $code"; }
setup "echo '$list' >/allow/allowed_clients"
client -- sh -c : || fail "a client back on the list is refused"

# Each is killed once. What the engine is told to kill it does not restart, so the first process is killed from outside.
state() {
    "$docker" inspect --format "$2" "$1"
}
is_back() {
    [ "$(state "$1" '{{.RestartCount}} {{.State.Running}}')" = '1 true' ]
}
is() {
    [ "$(state "$1" '{{.State.Health.Status}}')" = "$2" ]
}
relay=$(compose ps -q relay)
for id in $relay $(compose ps -q exec-server) $(compose ps -q jaeger); do
    kill -9 "$(state "$id" '{{.State.Pid}}')"
    await 60 "a killed container is restarted" is_back "$id"
done
for id in $relay $(compose ps -q exec-server); do
    await 60 "a killed container is healthy again" is "$id" healthy
done
expect "the tickets after all that" "$(tickets)" "$tickets_before"
expect "the list after all that" "$(setup 'cat /allow/allowed_clients')" "$list"
out=$(for n in 1 2; do client -e "BATON_TICKET_FILE=/tickets/$n" -- cat /etc/hostname; done | sort)
expect "two exec-servers after all that" "$out" "$ids"

# A client that is killed takes its command along, after its grace.
compose run --detach --rm --entrypoint baton client exec --grace 2s -- sleep 1001 >"$scratch/client" </dev/null
command_runs() {
    local line
    for line in /proc/[0-9]*/cmdline; do
        # It may be gone by now.
        [ "$({ tr '\0' ' ' <"$line"; } 2>/dev/null)" != 'sleep 1001 ' ] || return 0
    done
    return 1
}
command_is_gone() {
    ! command_runs
}
await 60 "the command runs" command_runs
kill -9 "$(state "$(tail -n 1 "$scratch/client")" '{{.State.Pid}}')"
await 60 "the command of a killed client is killed" command_is_gone

# Healthy is what is registered now: not without the relay, and again with it.
compose stop relay
for id in $(compose ps -q exec-server); do
    await 60 "an exec-server without a relay is unhealthy" is "$id" unhealthy
done
compose start relay
for id in $(compose ps -q exec-server); do
    await 60 "an exec-server whose relay is back is healthy" is "$id" healthy
done

if compose logs --no-color | grep 'baton1:'; then fail "a ticket is in the logs"; fi

compose down --volumes --timeout 5
[ -z "$("$docker" ps -aq)$("$docker" volume ls -q)" ] || { "$docker" ps -a; fail "something is left"; }
kill "$(cat "$scratch/pid")"
wait
