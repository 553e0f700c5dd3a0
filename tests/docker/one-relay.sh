# docker-compose.yml: commands run from the client's container in the exec-servers', through the relay's; one whole trace of the three
# arrives at a receiver; each container is killed once and comes back; and what the file promises of keys, tickets, the allow-list and
# privileges holds.
file=docker-compose.yml

compose config --quiet
# Once, and the dependencies again only with the manifests.
compose build >"$scratch/built" 2>&1 || { cat "$scratch/built"; fail "no image"; }
echo '// changed' >>"$source/cli/src/main.rs"
compose build >"$scratch/built" 2>&1 || { cat "$scratch/built"; fail "no image the second time"; }
# Of the two steps with cargo the first comes from the cache, the second does not.
cached=$(awk '/: RUN .*cargo build/ { asked = 1; next } asked { printf "%s ", /Using cache/ ? "cached" : "run"; asked = 0 }' "$scratch/built")
[ "$cached" = 'cached run ' ] || { cat "$scratch/built"; fail "expected the dependencies from the cache, got: $cached"; }
[ "$("$docker" images -q baton | wc -l)" = 1 ] || fail "more than one image of Baton"

compose up --detach --scale exec-server=2 || fail "it does not come up"

code=0
out=$(client -e "TRACEPARENT=00-$trace-$caller-01" -- sh -c 'cat /etc/hostname; exit 7' 2>"$scratch/err") || code=$?
[ "$code" = 7 ] || { cat "$scratch/err"; fail "expected exit code 7, got $code"; }
first=$out
second=$(client -e BATON_TICKET_FILE=/tickets/2 -- cat /etc/hostname) || fail "no second exec-server"
ids=$(compose ps -q exec-server | cut -c 1-12 | sort)
expect "two exec-servers, each by its ticket" "$(printf '%s\n%s\n' "$first" "$second" | sort)" "$ids"
compose run --rm -T --entrypoint baton client exec --trace -- uname -a </dev/null 2>"$scratch/drawn" || fail "exec --trace fails"
grep -q '^trace ' "$scratch/drawn" || { cat "$scratch/drawn"; fail "no waterfall"; }
tickets_before=$(tickets)
expect "two tickets" "$(sort -u <<<"$tickets_before" | grep -c '^baton1:')" 2

expect_whole_trace

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
expect_limits

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
await 60 "the command runs" command_runs "sleep 1001"
kill -9 "$(state "$(tail -n 1 "$scratch/client")" '{{.State.Pid}}')"
await 60 "the command of a killed client is killed" command_is_gone "sleep 1001"

# Healthy is what is registered now: not without the relay, and again with it.
compose stop relay
for id in $(compose ps -q exec-server); do
    await 60 "an exec-server without a relay is unhealthy" is "$id" unhealthy
done
compose start relay
for id in $(compose ps -q exec-server); do
    await 60 "an exec-server whose relay is back is healthy" is "$id" healthy
done

expect_no_ticket_in_logs
down
