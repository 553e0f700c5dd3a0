//! Terminals: `exec -t` and `attach -t`, whose client runs under a pseudo-terminal.

use baton_support::fault_proxy::{Direction, Fault};
use rustix::process::Signal;

use crate::support::{Input, Mark, OnPty, Proxied, Pty, Running, Testbed, poll, run};

/// Starts `baton exec OPTIONS -- sh -c SCRIPT` on the terminal. The script prints `ready` when it is.
fn start(testbed: &Testbed, pty: &Pty, options: &[&str], script: &str) -> OnPty {
    let started = pty.start(testbed.exec_with(options, ["sh", "-c", script]));
    pty.await_shown("ready\r\n");
    assert!(pty.is_raw(), "{}", pty.shown());
    started
}

/// Prints `ready`, and waits for a signal.
fn waiting(traps: &str) -> String {
    format!("{traps}; echo ready; while :; do sleep 0.02; done")
}

#[test]
fn a_command_has_a_terminal_of_our_size_and_ours_is_restored() {
    let testbed = Testbed::new();
    let pty = Pty::new(100, 40);
    let before = pty.modes();
    let script = "stty size; tty; echo \"type $TERM\"; echo ready; read line; echo \"got $line\"; exit 9";
    let mut command = testbed.exec_with(&["-t"], ["sh", "-c", script]);
    command.env("TERM", "vt220");
    let client = pty.start(command);
    pty.await_shown("ready\r\n");
    assert!(pty.is_raw());
    pty.type_keys(b"a~.b\r");
    assert_eq!(client.exit_code(), Some(9), "{}", pty.shown());
    pty.await_shown("got a~.b\r\n");
    let shown = pty.shown();
    for part in ["40 100\r\n", "/dev/pts/", "type vt220\r\n"] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert!(before == pty.modes(), "{before:?}, then {:?}", pty.modes());
}

#[test]
fn a_resize_reaches_the_command() {
    let testbed = Testbed::new();
    let pty = Pty::new(80, 24);
    let client = start(
        &testbed,
        &pty,
        &["-t"],
        &waiting("trap 'stty size; exit 7' WINCH"),
    );
    pty.resize(120, 50);
    client.signal(Signal::WINCH);
    assert_eq!(client.exit_code(), Some(7), "{}", pty.shown());
    pty.await_shown("50 120\r\n");
}

#[test]
fn ctrl_c_is_a_key_for_the_command() {
    let testbed = Testbed::new();
    let pty = Pty::new(80, 24);
    let before = pty.modes();
    let client = start(&testbed, &pty, &["-t"], &waiting("trap 'exit 5' INT"));
    pty.type_keys(b"\x03");
    assert_eq!(client.exit_code(), Some(5), "{}", pty.shown());
    assert!(before == pty.modes());
}

#[test]
fn a_client_that_is_stopped_by_a_signal_restores_the_terminal() {
    let testbed = Testbed::new();
    for (signal, code) in [(Signal::TERM, Some(3)), (Signal::HUP, None)] {
        let pty = Pty::new(80, 24);
        let before = pty.modes();
        let client = start(&testbed, &pty, &["-t"], &waiting("trap 'exit 3' TERM"));
        client.signal(signal);
        assert_eq!(client.exit_code(), code, "{}", pty.shown());
        assert!(before == pty.modes(), "{signal:?}");
    }
}

#[test]
fn the_escapes_leave_list_and_do_not_detach_without_a_grace() {
    let testbed = Testbed::new();
    let (pty, mark) = (Pty::new(80, 24), Mark::new());
    let before = pty.modes();
    let options = ["-t", "--grace", "0s", "--env", mark.variable()];
    let client = start(&testbed, &pty, &options, "echo ready; exec cat");
    pty.type_keys(b"~?");
    pty.await_shown("  ~.  end the command and leave\r\n");
    pty.type_keys(b"~d");
    pty.await_shown("this command has no grace");
    pty.type_keys(b"~~x\r");
    pty.await_shown("~x\r\n~x\r\n");
    pty.type_keys(b"~.");
    assert_eq!(client.exit_code(), Some(255), "{}", pty.shown());
    mark.await_gone();
    assert!(before == pty.modes());
}

#[test]
fn a_command_that_is_detached_from_runs_on_and_is_attached_to_again() {
    let testbed = Testbed::new();
    let (pty, mark) = (Pty::new(80, 24), Mark::new());
    let before = pty.modes();
    let options = ["-t", "--grace", "10m", "--env", mark.variable()];
    let client = start(&testbed, &pty, &options, "echo ready; exec cat");
    pty.type_keys(b"~d");
    assert_eq!(client.exit_code(), Some(0), "{}", pty.shown());
    assert!(before == pty.modes());
    pty.await_shown("`baton attach -t ");
    let shown = pty.shown();
    let (_, id) = shown.rsplit_once("`baton attach -t ").unwrap();
    let id = id.split('`').next().unwrap().to_owned();
    assert!(!mark.processes().is_empty());

    let again = Pty::new(90, 30);
    let mut attach = testbed.home.baton();
    attach.args(["attach", "-t", &id, &testbed.ticket.to_string()]);
    let client = again.start(attach);
    again.await_shown("ready\r\n");
    again.type_keys(b"once more\r");
    again.await_shown("once more\r\nonce more\r\n");
    assert!(!mark.processes().is_empty());
    again.type_keys(b"~.");
    assert_eq!(client.exit_code(), Some(255), "{}", again.shown());
    mark.await_gone();
}

/// The id of the only process, which `baton ps` lists.
fn listed(testbed: &Testbed) -> String {
    let mut ps = testbed.home.baton();
    ps.args(["ps", "--json", &testbed.ticket.to_string()]);
    let listed = run(ps);
    let process: serde_json::Value = serde_json::from_str(listed.text().trim()).unwrap();
    process["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_command_whose_window_is_closed_runs_on_for_its_grace_and_ends_without_one() {
    let testbed = Testbed::new();
    for (grace, has_grace) in [("10m", true), ("0s", false)] {
        let (pty, mark) = (Pty::new(80, 24), Mark::new());
        let options = ["-t", "--grace", grace, "--env", mark.variable()];
        let client = start(&testbed, &pty, &options, "echo ready; exec cat");
        pty.hang_up();
        let code = client.exit_code();
        assert!(code.is_none() || !has_grace, "{code:?}");
        if !has_grace {
            mark.await_gone();
            continue;
        }
        let again = Pty::new(90, 30);
        let mut attach = testbed.home.baton();
        attach.args(["attach", "-t", &listed(&testbed), &testbed.ticket.to_string()]);
        let client = again.start(attach);
        again.await_shown("ready\r\n");
        again.type_keys(b"once more\r");
        again.await_shown("once more\r\nonce more\r\n");
        again.type_keys(b"~.");
        assert_eq!(client.exit_code(), Some(255), "{}", again.shown());
        mark.await_gone();
    }
}

#[test]
fn keys_that_were_typed_before_a_detach_reach_the_command() {
    let testbed = Testbed::new();
    for number in 0..10 {
        let (pty, mark) = (Pty::new(80, 24), Mark::new());
        let file = testbed.home.file(&format!("typed-{number}"));
        let script = format!("echo ready; read line; echo $line >{}; exec cat", file.display());
        let options = ["-t", "--grace", "10m", "--env", mark.variable()];
        let client = start(&testbed, &pty, &options, &script);
        pty.type_keys(b"last words\r~d");
        assert_eq!(client.exit_code(), Some(0), "{}", pty.shown());
        poll("the keys arrive", || {
            (std::fs::read(&file).ok()? == b"last words\n").then_some(())
        });
    }
}

#[test]
fn a_resize_during_a_lost_connection_and_the_last_one_before_it_reach_the_command() {
    let proxied = Proxied::new();
    let (testbed, pty) = (&proxied.testbed, Pty::new(80, 24));
    let script = "echo ready; while read line; do stty size; done";
    let client = start(testbed, &pty, &["-t", "--grace", "10m"], script);
    for (columns, rows) in [(120, 50), (121, 51)] {
        // Nothing arrives at the relay any more, so the size is lost with the connection.
        proxied.client_link.inject(Fault::HalfOpen(Direction::Up));
        pty.resize(columns, rows);
        client.signal(Signal::WINCH);
        proxied.client_link.inject(Fault::Cut);
        pty.type_keys(b"x\r");
        pty.await_shown(&format!("{rows} {columns}\r\n"));
    }
    pty.type_keys(b"~.");
    assert_eq!(client.exit_code(), Some(255), "{}", pty.shown());
}

#[test]
fn two_t_give_a_terminal_without_one_here_and_its_input_ends() {
    let testbed = Testbed::new();
    let command = testbed.exec_with(&["-tt"], ["sh", "-c", "stty size; tty; cat; echo end"]);
    let finished = Running::start(command, Input::Bytes(b"abc\n".to_vec())).finish();
    let text = finished.text();
    assert_eq!(finished.code, 0, "{finished:?}");
    for part in ["24 80\r\n", "/dev/pts/", "abc\r\n", "end\r\n"] {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
}

#[test]
fn one_t_gives_pipes_without_a_terminal_here_and_says_so() {
    let testbed = Testbed::new();
    let command = testbed.exec_with(&["-t"], ["sh", "-c", "test -t 1 || echo pipes"]);
    let finished = Running::start(command, Input::Bytes(Vec::new())).finish();
    finished.assert_printed("pipes\n");
    assert!(finished.stderr.contains("gets no terminal"), "{finished:?}");
}

#[test]
fn without_a_command_a_login_shell_runs() {
    let testbed = Testbed::new();
    let command = testbed.exec_with(&["-tt"], [""; 0]);
    let input = b"echo $((6 * 7))\nexit 4\n".to_vec();
    let finished = Running::start(command, Input::Bytes(input)).finish();
    assert_eq!(finished.code, 4, "{finished:?}");
    assert!(finished.text().contains("42\r\n"), "{finished:?}");
}
