# docker-compose.fleet.yml: commands run on both exec-servers through HAProxy and the relays; a command goes on while every relay is
# restarted, and another while every relay is killed, with all output and one whole trace; and the balancer comes back.
file=docker-compose.fleet.yml

# Two for each connection. Where the machine allows fewer than the file asks for, HAProxy gets what there is.
files=$(ulimit -Hn)
[ "$files" != unlimited ] && [ "$files" -lt 65536 ] || files=65536
sed -i "s/nofile: 65536/nofile: $files/" "$source/$file"
sed -i "s/^    maxconn 20000$/    maxconn $(((files - 200) / 2 < 20000 ? (files - 200) / 2 : 20000))/" "$source/deploy/haproxy.cfg"

compose config --quiet
compose up --detach --build >"$scratch/up" 2>&1 || { cat "$scratch/up"; fail "the fleet does not come up"; }
healthy() {
    local part
    for part in balancer exec-server-1 exec-server-2; do
        await 60 "$part is healthy" is "$(compose ps -q $part)" healthy
    done
}
healthy
expect_limits

both() {
    local n
    for n in 1 2; do client -e "BATON_TICKET_FILE=/tickets/$n" -- cat /etc/hostname || fail "exec-server $n is not reached"; done
}
ids=$(for n in 1 2; do compose ps -q "exec-server-$n" | cut -c 1-12; done)
expect "two exec-servers, each by its ticket" "$(both)" "$ids"

client -e "TRACEPARENT=00-$trace-$caller-01" -- uname -a || fail "no command with a trace"
expect_whole_trace

# count FILE: a command on the first exec-server that says a number each tenth of a second, and ends with 7 when it is told to.
count() {
    client -e "TRACEPARENT=00-$trace-$caller-01" -- \
        sh -c 'n=0; until [ -e /tmp/enough ]; do n=$((n + 1)); echo $n; sleep 0.1; done; exit 7' >"$1" 2>"$1.err" &
    counting=$!
    await 60 "the command counts" grep -q '^1$' "$1"
}
expect_counted() {
    local code=0
    "$docker" exec "$(compose ps -q exec-server-1)" touch /tmp/enough
    wait "$counting" || code=$?
    "$docker" exec "$(compose ps -q exec-server-1)" rm /tmp/enough
    cat "$1.err"
    [ "$code" = 7 ] || fail "expected exit code 7, got $code"
    seq "$(wc -l <"$1")" | cmp - "$1" || fail "bytes were lost, or came twice"
}

# One relay after another. The one that has the command drains until it ends.
trace=4bf92f3577b34da6a3ce929d0e0e4737
count "$scratch/drained"
for n in 1 2 3; do
    compose restart "relay-$n" || fail "relay $n does not restart"
done &
restarting=$!
has_drained() {
    compose logs --no-color >"$scratch/logs" && grep -Eq 'draining: [0-9]+ session' "$scratch/logs"
}
await 60 "the command's relay drains" has_drained
expect "two exec-servers while a relay drains" "$(both)" "$ids"
expect_counted "$scratch/drained"
expect_whole_trace
wait "$restarting" || fail "a relay does not restart"

# The same without a warning.
trace=4bf92f3577b34da6a3ce929d0e0e4738
healthy
count "$scratch/killed"
for n in 1 2 3; do
    id=$(compose ps -q "relay-$n")
    kill -9 "$(state "$id" '{{.State.Pid}}')"
    await 60 "a killed relay is restarted" is_back "$id"
    expect "two exec-servers after relay $n was killed" "$(both)" "$ids"
done
expect_counted "$scratch/killed"
grep -q 'the connection is lost' "$scratch/killed.err" || fail "the command's connection was never lost"
expect_whole_trace

# The balancer too.
kill -9 "$(state "$(compose ps -q balancer)" '{{.State.Pid}}')"
await 60 "the killed balancer is restarted" is_back "$(compose ps -q balancer)"
healthy
expect "two exec-servers after the balancer was killed" "$(both)" "$ids"

expect_no_ticket_in_logs
down
