#!/usr/bin/env bash
# The compose file against a real engine: a command runs from the client's container in the exec-server's, through the relay's, and one
# whole trace of the three arrives at a receiver.
#
#   tests/docker/run.sh BATON OTLP_RECEIVER      both built on this machine
#
# It starts an engine of its own, in namespaces of its own, and leaves nothing behind. It needs root, the engine and docker-compose; exit code
# 77 says that one is missing. No registry is asked for anything, so two things are not what a user gets:
# - `rust` and `debian` are made from this machine's own shell and libraries, and `cargo` in the former hands out BATON, which was built
#   before. Every other line of the Dockerfile runs as it stands.
# - Jaeger is replaced by OTLP_RECEIVER (smoke.yml).
set -euo pipefail

cannot() {
    echo "$*"
    exit 77
}

[ $# = 2 ] || { echo "usage: $0 BATON OTLP_RECEIVER" >&2; exit 2; }
baton=$(realpath "$1") receiver=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
# Debian's own client: it fits Debian's engine.
docker=/usr/bin/docker
[ "$(id -u)" = 0 ] || cannot "an engine needs root"
for tool in dockerd docker-compose unshare ldd "$docker"; do
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

scratch=$BATON_SMOKE_SCRATCH
ip link set lo up
dockerd --data-root "$scratch/data" --exec-root "$scratch/exec" --pidfile "$scratch/pid" --host "unix://$scratch/docker.sock" \
    >"$scratch/dockerd.log" 2>&1 &
export DOCKER_HOST="unix://$scratch/docker.sock"
for _ in $(seq 150); do
    if "$docker" info >/dev/null 2>&1; then break; fi
    sleep 0.2
done
"$docker" info >/dev/null 2>&1 || { cat "$scratch/dockerd.log"; cannot "no engine comes up here"; }

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

mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/tmp"
ln -s usr/bin "$root/bin"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
for name in sh cat install sleep uname; do
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

compose() {
    docker-compose --project-name baton-smoke --file "$here/../../docker-compose.yml" --file "$here/smoke.yml" "$@"
}
# Fails with everything that the parts have said.
fail() {
    echo "$*"
    compose logs --no-color
    exit 1
}
compose config --quiet
compose up --detach --build || fail "it does not come up"

ready=
for _ in $(seq 100); do
    if compose exec -T client baton exec -- sh -c : 2>"$scratch/refused"; then
        ready=1
        break
    fi
    sleep 0.3
done
[ -n "$ready" ] || { cat "$scratch/refused"; fail "no command runs"; }

trace=4bf92f3577b34da6a3ce929d0e0e4736 caller=00f067aa0ba902b7
code=0
out=$(compose exec -T -e "TRACEPARENT=00-$trace-$caller-01" client baton exec -- sh -c 'cat /etc/hostname; exit 7') || code=$?
[ "$code" = 7 ] || fail "expected exit code 7, got $code"
where=$(compose ps -q exec-server)
[ "$out" = "${where:0:12}" ] || fail "expected the exec-server's container, ${where:0:12}, got: $out"

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
stages='call dispatch connect.dial connect.pair connect.handshake client.queue client.seal transit relay.queue relay.forward server.open
    server.queue rpc process process.spawn process.first_output process.stdout process.wait process.close terminal.queue terminal.seal
    terminal.transit terminal.relay.queue terminal.relay.forward terminal.open terminal.notify'
whole=
for _ in $(seq 100); do
    compose logs --no-color --no-log-prefix jaeger >"$scratch/spans"
    if awk -v trace=$trace -v caller=$caller -v expected_services="$services" -v expected_stages="${stages//$'\n'/ }" \
        -f "$scratch/check.awk" "$scratch/spans" >"$scratch/checked"; then
        whole=1
        break
    fi
    sleep 0.3
done
[ -n "$whole" ] || { cat "$scratch/checked"; fail "the trace is not whole"; }
cat "$scratch/checked"

compose down --volumes --timeout 5
[ -z "$("$docker" ps -aq)$("$docker" volume ls -q)" ] || { "$docker" ps -a; fail "something is left"; }
kill "$(cat "$scratch/pid")"
wait
