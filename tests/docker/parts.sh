# For a script that tries one compose file, which it names in `file`: what a user does with it, and what is expected.

compose() {
    "${compose_command[@]}" --project-name baton-smoke --file "$source/$file" --file "$here/smoke.yml" "$@"
}
# Fails with everything that the parts have said.
fail() {
    echo "$*"
    compose ps -a || compose ps
    compose logs --no-color
    exit 1
}
# expect WHAT GOT WANTED
expect() {
    [ "$2" = "$3" ] || fail "$1: expected '$3', got '$2'"
}

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
tickets() {
    compose run --rm -T --entrypoint sh client -c 'cat /tickets/1 /tickets/2' </dev/null
}

# state CONTAINER FORMAT
state() {
    "$docker" inspect --format "$2" "$1"
}
is_back() {
    [ "$(state "$1" '{{.RestartCount}} {{.State.Running}}')" = '1 true' ]
}
is() {
    [ "$(state "$1" '{{.State.Health.Status}}')" = "$2" ]
}

# What the client's command runs with, for a trace that is looked at below.
trace=4bf92f3577b34da6a3ce929d0e0e4736 caller=00f067aa0ba902b7
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
expect_whole_trace() {
    local tries=100
    until trace_is_whole; do
        [ $((tries -= 1)) -gt 0 ] || { cat "$scratch/checked"; fail "the trace is not whole"; }
        sleep 0.3
    done
    cat "$scratch/checked"
}

# expect_limits: of every container that runs.
expect_limits() {
    local id limits
    for id in $(compose ps -q); do
        limits=$("$docker" inspect --format '{{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}' "$id")
        [[ $limits == '[ALL] [no-new-privileges:true] '[1-9]*' '[1-9]* ]] || fail "limits of a container: $limits"
    done
}

# command_runs LINE: anywhere in this namespace.
command_runs() {
    local line
    for line in /proc/[0-9]*/cmdline; do
        # It may be gone by now.
        [ "$({ tr '\0' ' ' <"$line"; } 2>/dev/null)" != "$1 " ] || return 0
    done
    return 1
}
command_is_gone() {
    ! command_runs "$1"
}

expect_no_ticket_in_logs() {
    if compose logs --no-color | grep 'baton1:'; then fail "a ticket is in the logs"; fi
}

# Takes everything down, and expects that nothing is left.
down() {
    compose down --volumes --timeout 5
    [ -z "$("$docker" ps -aq)$("$docker" volume ls -q)" ] || { "$docker" ps -a; fail "something is left"; }
}
