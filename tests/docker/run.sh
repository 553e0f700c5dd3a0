#!/usr/bin/env bash
# The compose files against a real engine. one-relay.sh and fleet.sh say what is tried of each.
#
#   tests/docker/run.sh BATON OTLP_RECEIVER      both built on this machine
#
# It starts an engine of its own, in namespaces of its own, and leaves nothing behind. It needs root, the engine, docker-compose and HAProxy;
# exit code 77 says that one is missing. COMPOSE is the command to use in place of docker-compose, to try another version. No registry is
# asked for anything, so three things are not what a user gets:
# - `rust` and `debian` are made from this machine's own shell and libraries, and `cargo` in the former hands out BATON, which was built
#   before. Every other line of the Dockerfile runs as it stands, but for the digests.
# - `haproxy` is this machine's own, with what the image of that name adds: its user, its signal and its command.
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
# Where Debian has HAProxy, which is not in every user's PATH.
haproxy=/usr/sbin/haproxy
for tool in dockerd "${compose_command[0]}" unshare ldd "$docker" "$haproxy"; do
    command -v "$tool" >/dev/null || cannot "$tool is missing: apt-get install docker.io docker-compose haproxy"
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

# The classic builder, which every engine up to now has.
export DOCKER_BUILDKIT=0

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

rm "$root/otlp_receiver"
program "$haproxy" "$(command -v bash)"
echo 'haproxy:x:99:99::/var/lib/haproxy:/bin/false' >"$root/etc/passwd"
echo 'haproxy:x:99:' >"$root/etc/group"
import baton-haproxy
"$docker" build --quiet --tag haproxy:2.6 - >/dev/null <<'DOCKERFILE'
FROM baton-haproxy
USER haproxy
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
DOCKERFILE

# A copy, so that a source can be changed.
source=$scratch/source
mkdir "$source"
tar -C "$here/../.." --exclude=./target --exclude=./.git --exclude='./*/target' -c . | tar -C "$source" -x
. "$here/parts.sh"
. "$here/one-relay.sh"
. "$here/fleet.sh"

kill "$(cat "$scratch/pid")"
wait
