//! A client, relay or exec-server that ends or is killed: the processes of its commands are killed, and the peers
//! report it.

use std::fs;
use std::io::Read as _;
use std::time::{Duration, Instant};

use baton_support::process::RunningProgram;
use rustix::process::Signal;

use crate::support::{Home, Input, Mark, PATIENCE, Running, Testbed, after, poll, relay, run, signal};

/// A shell and two children of it, none of which ends by itself within the test.
const FAMILY: &str = "sleep 300 & sleep 300 & wait";

/// A family that ignores SIGTERM.
const STUBBORN_FAMILY: &str = "trap '' TERM; sleep 300 & sleep 300 & wait; sleep 300";

const FAMILY_SIZE: usize = 3;

/// Starts a command without a grace whose processes have `mark`, and waits until all run.
fn family(testbed: &Testbed, mark: &Mark, script: &str) -> Running {
    let exec = testbed.exec_with(&["--grace", "0s", "--env", mark.variable()], ["sh", "-c", script]);
    let running = Running::start(exec, Input::Open);
    mark.await_processes(FAMILY_SIZE);
    running
}

#[test]
fn a_killed_client_leaves_no_process_behind() {
    let testbed = Testbed::new();
    for script in [FAMILY, STUBBORN_FAMILY] {
        let mark = Mark::new();
        let client = family(&testbed, &mark, script);
        client.signal(Signal::KILL);
        assert_eq!(client.finish().code, 137);
        mark.await_gone();
    }
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
}

#[test]
fn an_interrupted_client_kills_its_command() {
    let testbed = Testbed::new();
    for (signal, code) in [
        (Signal::HUP, 129),
        (Signal::INT, 130),
        (Signal::QUIT, 131),
        (Signal::TERM, 143),
    ] {
        let mark = Mark::new();
        let client = family(&testbed, &mark, FAMILY);
        client.signal(signal);
        let finished = client.finish();
        finished.assert_failed(code, "baton: interrupted");
        // The signal must kill the client: otherwise a shell continues the loop around it.
        let expected = Some(signal.as_raw()).filter(|_| signal != Signal::QUIT);
        assert_eq!(finished.signal, expected, "{finished:?}");
        mark.await_gone();
    }
}

#[test]
fn an_interrupted_run_kills_its_command() {
    let home = crate::support::Home::new();
    for (signal, code) in [(Signal::INT, 130), (Signal::QUIT, 131), (Signal::TERM, 143)] {
        let mark = Mark::new();
        let (name, value) = mark.variable().split_once('=').unwrap();
        let mut baton = home.baton();
        baton
            .args(["run", "--", "sh", "-c", STUBBORN_FAMILY])
            .env(name, value);
        let running = Running::start(baton, Input::Open);
        mark.await_processes(FAMILY_SIZE + 1);
        running.signal(signal);
        let finished = running.finish();
        finished.assert_failed(code, "baton: interrupted");
        // The command has ended, by the signal or by SIGKILL, or the call was cancelled.
        let status = match signal {
            Signal::QUIT => "\n status CANCELLED from ",
            _ => "sh",
        };
        finished.assert_failed(code, status);
        mark.await_gone();
    }
}

#[test]
fn a_command_past_its_timeout_is_killed_with_its_children_and_exits_with_124() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let script = format!("echo begun; {STUBBORN_FAMILY}");
    let exec = testbed.exec_with(
        &["--timeout", "500ms", "--env", mark.variable()],
        ["sh", "-c", &script],
    );
    let finished = Running::start(exec, Input::Open).finish();
    finished.assert_failed_whatever(124);
    let sentence = "baton: the command did not end before its timeout, and was killed";
    assert!(finished.stderr.contains(sentence), "{finished:?}");
    assert_eq!(
        finished.text(),
        "begun\n",
        "the output before the timeout is shown"
    );
    mark.await_gone();
    poll("it is on record as timed out", || {
        let mut history = testbed.home.baton();
        history
            .args(["history", "--json"])
            .env("BATON_TICKET", testbed.ticket.to_string());
        run(history)
            .text()
            .contains(r#""outcome":"timed_out""#)
            .then_some(())
    });
    run(testbed.exec_with(&["--timeout", "1m"], ["sh", "-c", "exit 3"])).assert_failed(3, "");

    let mut embedded = testbed.home.baton();
    embedded.args(["run", "-q", "--timeout", "200ms", "--", "sleep", "300"]);
    run(embedded).assert_failed(124, "did not end before its timeout");
}

#[test]
fn a_client_under_nohup_survives_a_hangup() {
    let testbed = Testbed::new();
    let runs = testbed.home.file("runs");
    let script = format!("touch {}; read line; exit 4", runs.display());
    let exec = after("trap '' HUP", &testbed.exec(["sh", "-c", &script]));
    let mut client = Running::start(exec, Input::Open);
    poll("the command runs", || runs.exists().then_some(()));
    client.signal(Signal::HUP);
    client.write(b"go on\n");
    let finished = client.finish();
    assert_eq!(finished.code, 4, "{finished:?}");
}

#[test]
fn a_run_ends_with_its_command_and_not_a_second_later() {
    let home = Home::new();
    let took = || {
        let mut baton = home.baton();
        let begun = Instant::now();
        let finished = run({
            baton.args(["run", "--quiet", "--", "true"]);
            baton
        });
        assert_eq!(finished.code, 0, "{finished:?}");
        begun.elapsed()
    };
    // The median of several runs, for a busy machine.
    let mut all = [(); 5].map(|()| took());
    all.sort();
    assert!(all[2] < Duration::from_millis(800), "{all:?}");
}

#[test]
fn exit_codes_are_known_though_the_parent_ignores_sigchld() {
    let home = Home::new();
    let mut baton = home.baton();
    baton.args(["run", "--quiet", "--", "sh", "-c", "exit 5"]);
    // `env`, not `trap`: some shells cannot ignore SIGCHLD.
    let finished = run(after("exec env --ignore-signal=CHLD \"$0\" \"$@\"", &baton));
    assert_eq!((finished.code, &*finished.stderr), (5, ""), "{finished:?}");
}

/// A background process that reads the terminal is stopped, and one that writes disturbs the operator of the
/// exec-server.
#[test]
fn a_command_cannot_reach_the_terminal_of_its_server() {
    let home = Home::new();
    let asks = "(: </dev/tty) 2>/dev/null && echo reached || echo none";
    let baton = home.baton().get_program().to_str().unwrap().to_owned();
    // `script` runs its command in a new terminal.
    let mut script = std::process::Command::new("script");
    script
        .args([
            "-qec",
            &format!("{baton} run --quiet -- sh -c '{asks}'"),
            "/dev/null",
        ])
        .env("HOME", home.file(""));
    let finished = run(script);
    assert_eq!(
        (finished.code, finished.text().trim()),
        (0, "none"),
        "{finished:?}"
    );
}

#[test]
fn unreadable_input_is_reported_and_never_looks_complete() {
    let home = Home::new();
    let mut baton = home.baton();
    baton.args(["run", "--quiet", "--", "sh", "-c", "cat; echo complete"]);
    run(after("exec </", &baton)).assert_failed(255, "cannot read standard input to its end: Is a directory");
    run(after("exec 0>/dev/null", &baton)).assert_printed("complete\n");
}

#[test]
fn both_servers_ask_for_as_many_descriptors_as_their_limits_need() {
    let home = Home::new();
    let limits_of = |program: &RunningProgram| {
        let limits = fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        let numbers = line.split_whitespace().skip(3).take(2);
        numbers
            .map(|number| number.parse().unwrap())
            .collect::<Vec<u64>>()
    };
    let low = |command: &std::process::Command| after("ulimit -Sn 128", command);
    let mut baton = home.baton();
    baton.args(["relay", "--listen", "127.0.0.1:0"]);
    let mut relay = RunningProgram::start("relay", low(&baton)).unwrap();
    let address = relay
        .line_after("listening on ", crate::support::PATIENCE)
        .unwrap();
    let exec_server = home.baton_exec_server(&format!("http://{address}"));
    let mut exec_server = RunningProgram::start("exec-server", low(&exec_server)).unwrap();
    exec_server
        .line_after("ticket: ", crate::support::PATIENCE)
        .unwrap();
    for (program, wanted) in [(&relay, 16_384), (&exec_server, 4_096)] {
        let [soft, hard] = limits_of(program)[..] else {
            panic!()
        };
        assert!(soft >= wanted.min(hard), "{soft} of {hard}");
    }
}

#[test]
fn a_killed_relay_ends_the_call_and_its_process_and_a_new_relay_serves() {
    let mut testbed = Testbed::new();
    let mark = Mark::new();
    let client = family(&testbed, &mark, FAMILY);
    signal(&testbed.relay, Signal::KILL);
    client
        .finish()
        .assert_failed(255, "the connection to the relay was lost");
    mark.await_gone();
    run(testbed.exec_with(&["--connect-timeout", "0s"], ["true"]))
        .assert_failed(255, "cannot reach the relay");

    (testbed.relay, _) = relay(&testbed.home, &testbed.relay_address.to_string(), &[]);
    testbed.await_registration();
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
}

#[test]
fn a_stopped_relay_lets_a_command_end_and_takes_no_new_one() {
    let mut testbed = Testbed::new();
    let mark = Mark::new();
    let exec = testbed.exec_with(
        &["--env", mark.variable()],
        ["sh", "-c", "read line; echo \"$line\""],
    );
    let mut client = Running::start(exec, Input::Open);
    mark.await_processes(1);
    signal(&testbed.relay, Signal::TERM);
    let says = |text: &str| poll(text, || testbed.relay.stderr().contains(text).then_some(()));
    says("draining: 1 session, with 25s to end; the same signal again ends it at once");
    let mut health = testbed.home.baton();
    let url = format!("http://{}", testbed.relay_address);
    health.args(["health", "--relay", &url]);
    run(health).assert_failed(1, "is shutting down (HTTP status 404)");
    run(testbed.exec_with(&["--connect-timeout", "0s"], ["true"])).assert_failed_whatever(255);
    client.write(b"still here\n");
    client.finish().assert_printed("still here\n");
    says("drained: every session has ended");
    assert!(testbed.relay.wait(PATIENCE).unwrap().success());
}

#[test]
fn a_relay_that_is_stopped_twice_or_has_no_time_to_drain_ends_sessions_at_once() {
    for options in [&[][..], &["--drain", "0s"]] {
        let home = Home::new();
        home.allow("continue");
        let (mut relay, address) = relay(&home, "127.0.0.1:0", options);
        let mut exec_server = home.exec_server(&format!("http://{address}"));
        let ticket = exec_server.line_after("ticket: ", PATIENCE).unwrap();
        let mark = Mark::new();
        let exec = home.exec(
            &ticket,
            ["--grace", "0s", "--env", mark.variable()],
            ["sh", "-c", FAMILY],
        );
        let client = Running::start(exec, Input::Open);
        mark.await_processes(FAMILY_SIZE);
        signal(&relay, Signal::TERM);
        if options.is_empty() {
            poll("draining", || {
                relay.stderr().contains("draining: 1 session").then_some(())
            });
            signal(&relay, Signal::TERM);
        }
        client
            .finish()
            .assert_failed(255, "the relay is shutting down; reconnect");
        mark.await_gone();
        assert!(relay.wait(PATIENCE).unwrap().success());
        assert!(
            relay
                .stderr()
                .contains("ending 1 session, whose clients reconnect")
        );
    }
}

#[test]
fn a_stopped_exec_server_kills_its_commands_and_the_client_reports_it() {
    let mut testbed = Testbed::new();
    let mark = Mark::new();
    let client = family(&testbed, &mark, STUBBORN_FAMILY);
    testbed.stop_exec_server();
    assert!(mark.processes().is_empty(), "none outlives the exec-server");
    client
        .finish()
        .assert_failed(255, "the other end is shutting down; the command is killed");
    testbed.await_exec_server_says(
        "1 command still runs and has 2s to end; the same signal again ends it at once",
    );
}

/// A testbed whose exec-server gives its commands this long when it is stopped.
fn with_stop_timeout(stop_timeout: &str) -> Testbed {
    let mut testbed = Testbed::new();
    testbed.stop_exec_server();
    let mut command = testbed
        .home
        .baton_exec_server(&format!("http://{}", testbed.relay_address));
    command.args(["--stop-timeout", stop_timeout]);
    testbed.exec_server = RunningProgram::start("exec-server", command).unwrap();
    testbed.await_registration();
    testbed
}

#[test]
fn a_stopped_exec_server_lets_a_command_finish_and_takes_no_further_one() {
    let mut testbed = with_stop_timeout("1h");
    let (begun, go) = (testbed.home.file("begun"), testbed.home.file("go"));
    let script = format!(
        ": >{}; until [ -e {} ]; do sleep 0.02; done; echo done; exit 7",
        begun.display(),
        go.display()
    );
    let client = Running::start(testbed.exec(["sh", "-c", &script]), Input::Open);
    poll("the command runs", || begun.exists().then_some(()));
    signal(&testbed.exec_server, Signal::TERM);
    testbed.await_exec_server_says(
        "1 command still runs and has 1h to end; the same signal again ends it at once",
    );
    let refused = run(testbed.exec_with(&["--connect-timeout", "0s"], ["true"]));
    assert_eq!(refused.code, 255, "{refused:?}");
    // Longer than the default.
    std::thread::sleep(Duration::from_secs(3));
    fs::write(&go, "").unwrap();
    let finished = client.finish();
    assert_eq!((finished.code, finished.text()), (7, "done\n"), "{finished:?}");
    let ended = testbed.exec_server.wait(crate::support::PATIENCE).unwrap();
    assert!(ended.success(), "{ended:?}");
}

#[test]
fn ctrl_c_reaches_a_command_whose_exec_server_stops() {
    let testbed = with_stop_timeout("1h");
    let begun = testbed.home.file("begun");
    let script = format!(
        "trap 'exit 7' INT; read line; : >{}; while :; do sleep 0.02; done",
        begun.display()
    );
    let exec = testbed.exec_with(&["--kill-grace", "10m"], ["sh", "-c", &script]);
    let mut client = Running::start(exec, Input::Open);
    // The client sends input once it is attached.
    client.write(b"go\n");
    poll("the command runs", || begun.exists().then_some(()));
    signal(&testbed.exec_server, Signal::TERM);
    testbed.await_exec_server_says("has 1h to end");
    client.signal(Signal::INT);
    assert_eq!(client.finish().code, 7);
}

#[test]
fn the_same_signal_again_ends_the_commands_of_a_stopped_exec_server() {
    let mut testbed = with_stop_timeout("1h");
    let mark = Mark::new();
    let client = family(&testbed, &mark, STUBBORN_FAMILY);
    signal(&testbed.exec_server, Signal::TERM);
    testbed.await_exec_server_says("has 1h to end");
    assert_eq!(mark.processes().len(), FAMILY_SIZE);
    testbed.stop_exec_server();
    assert!(mark.processes().is_empty(), "none outlives the exec-server");
    // Its exit may still arrive: SIGKILL.
    let finished = client.finish();
    assert!([255, 137].contains(&finished.code), "{finished:?}");
}

#[test]
fn a_client_that_is_revoked_while_the_exec_server_stops_loses_its_commands() {
    let testbed = with_stop_timeout("1h");
    let mark = Mark::new();
    let client = family(&testbed, &mark, FAMILY);
    signal(&testbed.exec_server, Signal::TERM);
    testbed.await_exec_server_says("has 1h to end");
    let list = testbed.home.config("allowed_clients");
    fs::write(&list, format!("{} other clamp\n", Home::new().public())).unwrap();
    mark.await_gone();
    client.finish().assert_failed_whatever(255);
}

#[test]
fn a_killed_exec_server_ends_the_call_with_an_error() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let client = family(&testbed, &mark, FAMILY);
    signal(&testbed.exec_server, Signal::KILL);
    client
        .finish()
        .assert_failed(255, "the connection through the relay ended");
}

#[test]
fn an_exit_code_is_the_command_s_own_and_a_signal_adds_128() {
    let testbed = Testbed::new();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 255", 255),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
        ("kill -TERM $$", 143),
    ] {
        let finished = run(testbed.exec(["sh", "-c", script]));
        assert_eq!(finished.code, code, "{script}: {finished:?}");
        assert_eq!(finished.stderr, "", "{script}");
    }
}

#[test]
fn an_exit_is_reported_while_a_background_process_holds_the_pipes() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let script = "sleep 300 & echo ok; exit 5";
    let exec = testbed.exec_with(&["--env", mark.variable()], ["sh", "-c", script]);
    let finished = run(exec);
    assert_eq!((finished.code, finished.text()), (5, "ok\n"), "{finished:?}");
    assert!(
        finished
            .stderr
            .contains("a background process still holds the command's output"),
        "{finished:?}"
    );
}

#[test]
fn a_command_that_never_reads_its_stdin_ends_all_the_same() {
    let testbed = Testbed::new();
    for (script, code) in [
        ("exit 3", 3),
        ("exec <&-; echo ok; exit 4", 4),
        ("head -c 1 >/dev/null; exit 5", 5),
    ] {
        let exec = testbed.exec(["sh", "-c", script]);
        let finished = Running::start(exec, Input::Endless).finish();
        assert_eq!(finished.code, code, "{script}: {finished:?}");
        assert_eq!(finished.stderr, "", "{script}");
    }
    // It also ends while its open input has no bytes.
    let finished = Running::start(testbed.exec(["echo", "ok"]), Input::Open).finish();
    finished.assert_printed("ok\n");
}

#[test]
fn a_client_whose_reader_has_closed_kills_its_command_silently() {
    let testbed = Testbed::new();
    // The same for both streams, and for small and large writes.
    for script in [
        "while :; do echo y; done",
        "while :; do echo y >&2; done",
        "exec cat /dev/zero",
    ] {
        let mark = Mark::new();
        let mut exec = testbed.exec_with(&["--env", mark.variable()], ["sh", "-c", script]);
        let is_stderr = script.contains(">&2");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (mut rest, other) = std::io::pipe().unwrap();
        exec.stdin(std::process::Stdio::null());
        match is_stderr {
            true => exec.stderr(writer).stdout(other),
            false => exec.stdout(writer).stderr(other),
        };
        let mut client = exec.spawn().unwrap();
        drop(exec);
        let status = poll("the client ends", || client.try_wait().unwrap());
        mark.await_gone();
        let mut printed = String::new();
        rest.read_to_string(&mut printed).unwrap();
        // The status that a shell has for a local command that SIGPIPE has killed.
        assert_eq!((status.code(), printed.as_str()), (Some(141), ""), "{script}");
    }
}

#[test]
fn commands_that_end_well_leave_no_line_behind_and_every_line_has_a_time() {
    let testbed = Testbed::new();
    let logs = || [&testbed.exec_server, &testbed.relay].map(RunningProgram::stderr);
    testbed.await_exec_server_says(&format!("registered with http://{}", testbed.relay_address));
    let before = logs();
    for _ in 0..20 {
        run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
    }
    // The refusal of a stranger is logged after them.
    let stranger = Home::new();
    run(stranger.exec(&testbed.ticket.to_string(), [""; 0], ["true"])).assert_failed(255, "not allowed");
    testbed.await_exec_server_says("NAME clamp");
    for (now, before) in logs().iter().zip(before) {
        let new = now.strip_prefix(&before).unwrap();
        let is_of_ours = |line: &&str| !line.is_empty() && !line.starts_with("Noise_");
        let lines: Vec<_> = new.lines().filter(is_of_ours).collect();
        assert!(lines.len() <= 1, "{lines:?}");
        let lines = now.lines().filter(|line| !line.starts_with("Noise_"));
        for line in lines {
            let time = line.split(' ').next().unwrap();
            assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
        }
    }
}

#[test]
fn an_exec_server_logs_only_sessions_that_were_cut() {
    let testbed = Testbed::new();
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
    let mark = Mark::new();
    let client = family(&testbed, &mark, FAMILY);
    client.signal(Signal::KILL);
    client.finish();
    testbed.await_exec_server_says("session of tester ended with 1 call under way: ");
    let log = testbed.exec_server.stderr();
    assert_eq!(log.matches("session of tester").count(), 1, "{log}");
}

#[test]
fn an_exec_server_with_a_closed_log_continues_to_serve() {
    let home = Home::new();
    home.allow("continue");
    let (_relay, address) = relay(&home, "127.0.0.1:0", &[]);
    let mut command = home.baton_exec_server(&format!("http://{address}"));
    let (mut reader, writer) = std::io::pipe().unwrap();
    command
        .stdin(std::process::Stdio::null())
        .stderr(writer.try_clone().unwrap())
        .stdout(writer);
    let mut exec_server = command.spawn().unwrap();
    drop(command);
    let mut log = String::new();
    let mut byte = [0];
    while !log.contains("ticket: ") || !log.ends_with('\n') {
        reader.read_exact(&mut byte).unwrap();
        log.push(byte[0].into());
    }
    drop(reader);
    let ticket = log
        .split("ticket: ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    for _ in 0..3 {
        run(home.exec(&ticket, [""; 0], ["echo", "ok"])).assert_printed("ok\n");
    }
    assert!(exec_server.try_wait().unwrap().is_none(), "it serves on");
    exec_server.kill().unwrap();
    exec_server.wait().unwrap();
}

#[test]
fn an_exec_server_listens_on_nothing() {
    let testbed = Testbed::new();
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
    if !rustix::process::geteuid().is_root() {
        return println!("not checked: only root may look at the descriptors of an exec-server");
    }
    assert_eq!(listening(&testbed.exec_server), Vec::<String>::new());
    assert_eq!(
        listening(&testbed.relay).len(),
        1,
        "the search finds the relay's listening socket"
    );
}

/// The sockets through which a process can be reached: listening TCP and Unix sockets, and any UDP socket.
fn listening(program: &RunningProgram) -> Vec<String> {
    let process = format!("/proc/{}", program.pid());
    let open: Vec<_> = fs::read_dir(format!("{process}/fd"))
        .unwrap()
        .filter_map(|entry| {
            let target = fs::read_link(entry.unwrap().path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    assert!(!open.is_empty(), "a program has sockets");
    // Column and value of the state of a listening socket, and column of the inode; see proc_net(5).
    let tables = [
        ("tcp", Some((3, "0A")), 9),
        ("tcp6", Some((3, "0A")), 9),
        ("udp", None, 9),
        ("udp6", None, 9),
        ("unix", Some((3, "00010000")), 6),
    ];
    let mut found = Vec::new();
    for (table, state, inode) in tables {
        // A kernel without IPv6 has no such table.
        let text = fs::read_to_string(format!("{process}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let columns: Vec<_> = line.split_whitespace().collect();
            let listens = state.is_none_or(|(column, value)| columns[column] == value);
            if listens && open.iter().any(|open| open == columns[inode]) {
                found.push(format!("{table}: {line}"));
            }
        }
    }
    found
}
