//! Bad input of every kind: each has its own error and exit code, no command runs, and nothing hangs.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use baton_core_client::{Command, RunError, Seed, StartFailure, Ticket};
use baton_proto::ExecServerId;
use baton_support::process::RunningProgram;
use rustix::process::Signal;

use crate::support::{Home, Input, PATIENCE, Running, Testbed, after, await_says, poll, relay, run, signal};

/// A file that a command creates if it runs.
struct Canary(PathBuf);

impl Canary {
    fn new(home: &Home) -> Self {
        Self(home.file("canary"))
    }

    fn command(&self) -> [&str; 2] {
        ["touch", self.0.to_str().unwrap()]
    }

    #[track_caller]
    fn assert_not_run(&self) {
        assert!(!self.0.exists(), "the command was run");
    }
}

/// Runs a command with this ticket and asserts that it fails with this sentence and that the command does not run.
#[track_caller]
fn assert_refused(home: &Home, ticket: &str, sentence: &str) {
    let canary = Canary::new(home);
    // One attempt: by default the client retries transient errors.
    let once = ["--connect-timeout", "0s"];
    run(home.exec(ticket, once, canary.command())).assert_failed(255, sentence);
    canary.assert_not_run();
}

/// A ticket for this relay and an exec-server that does not exist.
fn stray_ticket(relay_url: &str) -> Ticket {
    let seed = Seed::generate().unwrap();
    Ticket {
        relay_url: relay_url.into(),
        exec_server: ExecServerId([7; 16]),
        noise_key: *seed.client_key().unwrap().public(),
        dial_token: seed.server_keys().unwrap().dial_token.clone(),
    }
}

/// Listens on a port and calls `answer` with every connection. The thread ends with the test process.
fn port(answer: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().for_each(|socket| answer(socket.unwrap())));
    url
}

#[test]
fn other_text_and_a_damaged_ticket_have_different_errors() {
    let testbed = Testbed::new();
    let ticket = testbed.ticket.to_string();
    let mut mistyped = ticket.clone();
    let last = if mistyped.pop() == Some('A') { 'B' } else { 'A' };
    mistyped.insert(mistyped.len() / 2, last);
    for (text, sentence) in [
        ("", "not a ticket: it starts with `baton1:`"),
        ("nonsense", "not a ticket: it starts with `baton1:`"),
        (&ticket[1..], "not a ticket: it starts with `baton1:`"),
        (
            &ticket.replace("baton1:", "baton9:"),
            "not a ticket: it starts with `baton1:`",
        ),
        ("baton1:", "the ticket is damaged (checksum)"),
        (&ticket[..ticket.len() - 1], "the ticket is damaged (checksum)"),
        (&ticket[..ticket.len() / 2], "the ticket is damaged (checksum)"),
        (&mistyped, "the ticket is damaged (checksum)"),
        (&format!("{ticket}{ticket}"), "the ticket is damaged (checksum)"),
        ("baton1:\u{1b}[31m", "the ticket is damaged (checksum)"),
    ] {
        assert_refused(&testbed.home, text, sentence);
    }
    let mut without = testbed.home.baton();
    without.args(["exec", "--", "true"]);
    run(without).assert_failed(
        255,
        "no ticket: pass the file that `baton exec-server --ticket-file FILE` wrote",
    );
    let mut by_environment = testbed.home.baton();
    by_environment
        .args(["exec", "--", "echo", "ok"])
        .env("BATON_TICKET", &ticket);
    run(by_environment).assert_printed("ok\n");
}

#[test]
fn an_invalid_relay_url_is_named() {
    let home = Home::new();
    for (url, sentence) in [
        (
            "",
            "is not a relay URL: expected https://host:port or http://host:port",
        ),
        (
            "ftp://127.0.0.1:1",
            "is not a relay URL: expected https://host:port or http://host:port",
        ),
        (
            "http://127.0.0.1:1/path",
            "is not a relay URL: expected https://host:port or http://host:port",
        ),
        (
            "http://\u{1b}]0;title\u{7}",
            "is not a relay URL: expected https://host:port or http://host:port",
        ),
        (
            "https://127.0.0.1:1/path",
            "is not a relay URL: expected https://host:port or http://host:port",
        ),
    ] {
        assert_refused(&home, &stray_ticket(url).to_string(), sentence);
        run(home.baton_exec_server(url)).assert_failed(255, sentence);
    }
}

#[test]
fn an_unreachable_relay_is_named() {
    let home = Home::new();
    let ticket = stray_ticket("http://127.0.0.1:1").to_string();
    assert_refused(
        &home,
        &ticket,
        "cannot reach the relay at http://127.0.0.1:1/: Connection refused",
    );
}

#[test]
fn a_port_with_another_protocol_is_no_relay() {
    let home = Home::new();
    let hangs_up = port(drop);
    let speaks_http1 = port(|mut socket| {
        let _ = socket.read(&mut [0; 1024]);
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let greets = port(|mut socket| {
        let _ = socket.write_all(b"220 \x1b[31mmail.example ESMTP\r\n");
        let _ = socket.read(&mut [0; 1024]);
    });
    for url in [hangs_up, speaks_http1, greets] {
        assert_refused(&home, &stray_ticket(&url).to_string(), "relay");
    }
}

#[test]
fn a_port_that_never_answers_ends_in_a_deadline() {
    let home = Home::new();
    let held = std::sync::Mutex::new(Vec::new());
    let silent = port(move |socket| held.lock().unwrap().push(socket));
    let mut exec_server = home.exec_server(&silent);
    assert_refused(
        &home,
        &stray_ticket(&silent).to_string(),
        "the connection to the relay broke: ",
    );
    await_says(
        &exec_server,
        "no answer from the relay within 5 s; trying again in",
    );
    signal(&exec_server, Signal::TERM);
    assert!(
        exec_server.wait(PATIENCE).unwrap().success(),
        "it can be stopped meanwhile"
    );
}

#[test]
fn an_absent_exec_server_and_a_wrong_ticket_have_different_errors() {
    let mut testbed = Testbed::new();
    let home = Home::new();
    let not_there = "the exec-server is not connected to the relay";
    let of_nobody = Ticket {
        exec_server: ExecServerId([7; 16]),
        ..testbed.ticket.clone()
    };
    assert_refused(&testbed.home, &of_nobody.to_string(), not_there);
    let wrong_token = Ticket {
        dial_token: stray_ticket("http://a:1").dial_token.clone(),
        ..testbed.ticket.clone()
    };
    assert_refused(
        &testbed.home,
        &wrong_token.to_string(),
        "the relay refused this ticket",
    );
    let wrong_key = Ticket {
        noise_key: home.public(),
        ..testbed.ticket.clone()
    };
    assert_refused(
        &testbed.home,
        &wrong_key.to_string(),
        "the server does not hold the key in this ticket, or the relay altered the handshake; ask the exec-server's owner for its \
         current ticket",
    );
    testbed.stop_exec_server();
    assert_refused(&testbed.home, &testbed.ticket.to_string(), not_there);
}

#[test]
fn a_refused_key_is_reported_to_both_sides_with_the_line_to_add() {
    let testbed = Testbed::new();
    let stranger = Home::new();
    let ticket = testbed.ticket.to_string();
    let sentence = "key is not allowed: ask the exec-server's owner to add";
    let canary = Canary::new(&stranger);
    let refused = run(stranger.exec(&ticket, [""; 0], canary.command()));
    refused.assert_failed(255, sentence);
    canary.assert_not_run();
    let line = refused
        .stderr
        .lines()
        .find(|line| line.starts_with("Noise_"))
        .unwrap();
    assert!(
        line.starts_with(&format!("{} tester@", stranger.public())),
        "{line}"
    );
    let add = format!(
        "add this line to {}",
        testbed.home.config("allowed_clients").display()
    );
    testbed.await_exec_server_says(&add);
    testbed.await_exec_server_says(&format!("{} NAME clamp", stranger.public()));

    // The suggested line is added unchanged; the client is allowed without a restart.
    let list = testbed.home.config("allowed_clients");
    let allowed = fs::read_to_string(&list).unwrap();
    fs::write(&list, format!("{allowed}{line}\n")).unwrap();
    run(stranger.exec(&ticket, [""; 0], ["echo", "ok"])).assert_printed("ok\n");
    fs::write(&list, allowed).unwrap();
    assert_refused(&stranger, &ticket, sentence);
}

#[test]
fn without_an_allow_list_every_client_is_refused_and_the_log_says_so() {
    let testbed = Testbed::new();
    let owner = Home::new();
    let mut exec_server = owner.exec_server(&format!("http://{}", testbed.relay_address));
    let ticket = exec_server.line_after("ticket: ", PATIENCE).unwrap();
    await_says(
        &exec_server,
        "no client is allowed yet: add a line `key name trust`",
    );
    assert_refused(&testbed.home, &ticket, "key is not allowed");
    await_says(&exec_server, &format!("{} NAME clamp", testbed.home.public()));
}

#[test]
fn a_bad_line_of_an_allow_list_is_named_and_refuses_its_own_client_alone() {
    let testbed = Testbed::new();
    let owner = Home::new();
    let (other, stranger) = (Home::new(), Home::new());
    let list = format!(
        "# comment\n\nnonsense tester clamp\n{} tester\n{} other everything\n",
        testbed.home.public(),
        other.public()
    );
    fs::write(owner.config("allowed_clients"), list).unwrap();
    let mut exec_server = owner.exec_server(&format!("http://{}", testbed.relay_address));
    let ticket = exec_server.line_after("ticket: ", PATIENCE).unwrap();
    let is_refused = "the client of this line is refused until the line is fixed";
    for problem in [
        "allowed_clients:3: not a public key",
        "allowed_clients:5: unknown trust",
    ] {
        await_says(&exec_server, problem);
    }
    assert_eq!(exec_server.stderr().matches(is_refused).count(), 2);
    run(testbed.home.exec(&ticket, [""; 0], ["echo", "ok"])).assert_printed("ok\n");
    assert_refused(
        &other,
        &ticket,
        "allow-list does not tell whether this key is allowed",
    );
    assert_refused(&stranger, &ticket, "key is not allowed");
}

#[test]
fn files_open_to_others_are_refused_with_the_command_that_fixes_them() {
    let testbed = Testbed::new();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();

    let owner = Home::new();
    owner.allow("clamp");
    let (list, folder) = (owner.config("allowed_clients"), owner.config(""));
    for (path, open, fixed) in [(&list, 0o666, 0o600), (&folder, 0o777, 0o700)] {
        mode(path, open);
        let started = run(owner.baton_exec_server("http://127.0.0.1:1"));
        started.assert_failed(255, "others can change it");
        started.assert_failed(
            255,
            format!("run `chmod go-w {}", path.display()).trim_end_matches('/'),
        );
        mode(path, fixed);
    }

    // No new session is accepted while other users can write the file.
    let allowed = testbed.home.config("allowed_clients");
    mode(&allowed, 0o622);
    let ticket = testbed.ticket.to_string();
    let does_not_tell = "allow-list does not tell whether this key is allowed";
    assert_refused(&testbed.home, &ticket, does_not_tell);
    testbed.await_exec_server_says("others can change it (mode 622)");
    mode(&allowed, 0o600);
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");

    let file = testbed.home.file("ticket");
    fs::write(&file, &ticket).unwrap();
    let by_file = || {
        let mut baton = testbed.home.baton();
        baton.args(["exec", "--ticket-file"]).arg(&file);
        baton.args(["--", "echo", "ok"]);
        run(baton)
    };
    for open in [0o604, 0o640, 0o602] {
        mode(&file, open);
        by_file().assert_failed(255, &format!("run `chmod 600 {}`", file.display()));
    }
    mode(&file, 0o600);
    by_file().assert_printed("ok\n");
}

#[test]
fn a_ticket_on_standard_input_precedes_the_input_of_the_command() {
    let testbed = Testbed::new();
    let mut baton = testbed.home.baton();
    baton.args(["exec", "--ticket-file", "-", "--", "cat"]);
    let input = format!("ticket: {}\nfor\nthe command", testbed.ticket);
    let finished = Running::start(baton, Input::Bytes(input.into_bytes())).finish();
    finished.assert_printed("for\nthe command");
}

#[test]
fn a_ticket_file_takes_the_ticket_off_standard_output() {
    let testbed = Testbed::new();
    let home = Home::new();
    let file = home.file("ticket");
    let mut baton = home.baton_exec_server(&format!("http://{}", testbed.relay_address));
    baton.arg("--ticket-file").arg(&file);
    let mut exec_server = RunningProgram::start("exec-server", baton).unwrap();
    await_says(&exec_server, "registered with http://");
    signal(&exec_server, Signal::TERM);
    assert!(exec_server.wait(PATIENCE).unwrap().success());
    let ticket = fs::read_to_string(&file).unwrap();
    assert!(ticket.trim_end().parse::<Ticket>().is_ok(), "{ticket}");
    assert!(!exec_server.stderr().contains("baton1:"));
    let printed = exec_server.line_after("ticket: ", PATIENCE);
    assert!(printed.is_err(), "{printed:?}");
}

#[test]
fn a_rotated_ticket_is_revoked_at_once_and_the_next_one_works_while_sessions_go_on() {
    let mut testbed = Testbed::new();
    let runs = testbed.home.file("runs");
    let script = format!("touch {}; read line; echo $line", runs.display());
    let mut open = Running::start(testbed.exec(["sh", "-c", &script]), Input::Open);
    poll("the command runs", || runs.exists().then_some(()));
    let rotate = |home: &Home| {
        let mut baton = home.baton();
        baton.args(["ticket", "rotate"]);
        run(baton)
    };
    let rotated = rotate(&testbed.home);
    assert!(
        rotated.code == 0 && rotated.text().starts_with("generation 1: "),
        "{rotated:?}"
    );
    let leaked = testbed.ticket.to_string();
    let next = testbed.exec_server.line_after("ticket: ", PATIENCE).unwrap();
    assert_ne!(next, leaked);
    assert_refused(&testbed.home, &leaked, "the relay refused this ticket");
    run(testbed.home.exec(&next, [""; 0], ["echo", "ok"])).assert_printed("ok\n");
    open.write(b"still here\n");
    open.finish().assert_printed("still here\n");

    // The old ticket stays revoked after a restart, and the next rotation makes another generation.
    testbed.stop_exec_server();
    assert!(rotate(&testbed.home).text().starts_with("generation 2: "));
    let mut again = testbed
        .home
        .exec_server(&format!("http://{}", testbed.relay_address));
    let last = again.line_after("ticket: ", PATIENCE).unwrap();
    for revoked in [&leaked, &next] {
        assert_refused(&testbed.home, revoked, "the relay refused this ticket");
    }
    run(testbed.home.exec(&last, [""; 0], ["echo", "ok"])).assert_printed("ok\n");
    let mut without = testbed.home.baton();
    without
        .args(["ticket", "rotate", "--key"])
        .arg(testbed.home.file("absent"));
    run(without).assert_failed(255, "there is no key file");
}

#[test]
fn a_login_shell_without_a_terminal_is_refused() {
    let home = Home::new();
    let ticket = stray_ticket("http://127.0.0.1:1").to_string();
    for options in [&[""; 0][..], &["-t"]] {
        let finished = run(home.exec(&ticket, options, [""; 0]));
        finished.assert_failed(2, "no command: pass it after `--`");
    }
}

#[test]
fn a_closed_standard_output_is_an_error_and_no_command_runs() {
    let testbed = Testbed::new();
    let canary = Canary::new(&testbed.home);
    let closed = run(after("exec >&-", &testbed.exec(canary.command())));
    closed.assert_failed(255, "standard output is closed");
    canary.assert_not_run();
    let mut public = testbed.home.baton();
    public.args(["keygen", "--public"]);
    run(after("exec >&-", &public)).assert_failed(255, "standard output is closed");
    // Output to /dev/null is not an error.
    run(after("exec >/dev/null", &testbed.exec(["echo", "ok"]))).assert_printed("");
    run(after("exec 1<>/dev/null", &testbed.exec(["echo", "ok"]))).assert_printed("");
}

#[test]
fn a_bad_key_file_is_refused_before_anything_is_dialled() {
    let home = Home::new();
    home.allow("clamp");
    let ticket = stray_ticket("http://127.0.0.1:1").to_string();
    let key = home.config("client_key");
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    let exec_server = || {
        let mut command = home.baton_exec_server("http://127.0.0.1:1");
        command.arg("--key").arg(&key);
        run(command)
    };
    for (bits, sentence) in [(0o644, "(mode 644): run `chmod 600 "), (0o640, "(mode 640)")] {
        mode(bits);
        assert_refused(&home, &ticket, sentence);
        exec_server().assert_failed(255, sentence);
    }
    mode(0o600);
    for garbage in [
        &b""[..],
        b"garbage\n",
        b"baton-key-v1 \x1b[31m\xff\xff",
        &[b'x'; 5000],
    ] {
        fs::write(&key, garbage).unwrap();
        assert_refused(
            &home,
            &ticket,
            "is not a Baton key file: make one with `baton keygen",
        );
        exec_server().assert_failed(255, "is not a Baton key file");
    }
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    assert_refused(&home, &ticket, "key");
}

#[test]
fn a_key_is_made_at_first_use_with_its_public_line_and_never_overwritten() {
    let testbed = Testbed::new();
    let home = Home::new();
    fs::remove_dir_all(home.file(".config")).unwrap();
    let first = run(home.exec(&testbed.ticket.to_string(), [""; 0], ["true"]));
    first.assert_failed(255, "created the client key");
    let made = fs::read(home.config("client_key")).unwrap();
    let mode = fs::metadata(home.config("client_key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let line = first
        .stderr
        .lines()
        .find(|line| line.starts_with("Noise_"))
        .unwrap();
    assert!(line.starts_with(&home.seed().client_key().unwrap().public().to_string()));

    let mut keygen = home.baton();
    keygen.arg("keygen");
    let path = home.config("client_key");
    let sentence = format!(
        "{0} is there already and a key is never overwritten: print its public line with `baton keygen --public {0}`",
        path.display()
    );
    run(keygen).assert_failed(255, &sentence);
    assert_eq!(fs::read(&path).unwrap(), made);
    for file in [None, Some(&path)] {
        let mut public = home.baton();
        public.args(["keygen", "--public"]).args(file);
        let printed = run(public);
        assert_eq!((printed.code, printed.stderr.as_str()), (0, ""), "{printed:?}");
        assert_eq!(printed.text().trim_end(), line);
    }
    let mut absent = home.baton();
    absent.args(["keygen", "--public"]).arg(home.file("absent"));
    run(absent).assert_failed(255, "there is no key file");
    assert!(!home.file("absent").exists(), "none was made");
    let mut keygen = home.baton();
    keygen.arg("keygen").arg(home.file("other_key"));
    let other = run(keygen);
    assert_eq!(other.code, 0, "{other:?}");
    let public = *Seed::read(&home.file("other_key"))
        .unwrap()
        .client_key()
        .unwrap()
        .public();
    assert!(
        other.text().starts_with(&format!("{public} tester@")),
        "{other:?}"
    );
}

#[test]
fn a_command_that_cannot_start_says_why_and_exits_like_a_shell() {
    let testbed = Testbed::new();
    let plain = testbed.home.file("plain");
    fs::write(&plain, "text").unwrap();
    let script = testbed.home.file("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let (plain, script) = (plain.to_str().unwrap(), script.to_str().unwrap());
    for (command, code, sentence) in [
        (
            "no-such-command",
            127,
            "baton: no-such-command: command not found",
        ),
        (
            "/no/such/command",
            127,
            "baton: /no/such/command: command not found",
        ),
        ("", 127, "command not found"),
        ("bad\u{1b}[31mcommand", 127, "command not found"),
        (plain, 126, "plain: the command is not executable"),
        (script, 126, "script: the command is not executable"),
        ("/", 126, "baton: /: the command is not executable"),
    ] {
        run(testbed.exec([command])).assert_failed(code, sentence);
    }
    let canary = Canary::new(&testbed.home);
    for cwd in ["/no/such/dir", plain] {
        let finished = run(testbed.exec_with(&["--cwd", cwd], canary.command()));
        let sentence = format!("baton: {cwd}: the working directory does not exist, is not a directory");
        finished.assert_failed(255, &sentence);
        finished.assert_failed(255, "; pass another with --cwd");
    }
    canary.assert_not_run();
}

#[test]
fn a_nul_in_a_command_is_refused_and_the_session_goes_on() {
    let testbed = Testbed::new();
    let canary = Canary::new(&testbed.home);
    let [touch, file] = canary.command();
    let command = || Command::new(touch).arg(file);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = testbed.client();
        for (bad, sentence) in [
            (command().arg("a\0b"), "an argument contains a NUL byte"),
            (
                command().env("A", "a\0b"),
                "an environment variable contains a NUL byte",
            ),
            (
                command().env("A=", "b"),
                "the name of an environment variable is empty or contains '='",
            ),
            (
                command().current_dir("/\0"),
                "the working directory contains a NUL byte",
            ),
        ] {
            let error = client.run(bad).await.unwrap_err();
            let RunError::Start { failure, message } = &error else {
                panic!("{error:?}")
            };
            assert_eq!((*failure, &**message), (StartFailure::Invalid, sentence));
        }
        let output = client.run(Command::new("echo").arg("ok")).await.unwrap();
        assert_eq!(output.stdout, b"ok\n");
    });
    canary.assert_not_run();
}

#[test]
fn an_invalid_option_is_reported_with_its_name() {
    let testbed = Testbed::new();
    let canary = Canary::new(&testbed.home);
    let no_text = OsStr::from_bytes(b"a\xff");
    let no_pair = OsStr::from_bytes(b"a=\xff");
    let long = "x".repeat(1025);
    let long = OsStr::new(&long);
    for (option, value, sentence) in [
        ("--thread", long, "at most 256 bytes"),
        ("--thread", no_text, "not UTF-8"),
        ("--step", long, "at most 128 bytes"),
        ("--step", no_text, "not UTF-8"),
        ("--step", OsStr::new(""), "not an empty one"),
        ("--turn", OsStr::new("0"), "expected a number from 1"),
        ("--turn", OsStr::new(""), "expected a number from 1"),
        (
            "--turn",
            OsStr::new("9223372036854775808"),
            "expected a number from 1",
        ),
        ("--turn", no_text, "not UTF-8"),
        ("--title", long, "at most 1024 bytes"),
        ("--title", no_text, "not UTF-8"),
        ("--meta", no_pair, "not UTF-8"),
        ("--env", OsStr::from_bytes(b"\xff"), "expected a name, `=`"),
        ("--timeout", no_text, "not UTF-8"),
    ] {
        let mut options = vec![OsStr::new(option), value];
        if ["--title", "--meta"].contains(&option) {
            options.extend(["--thread", "t"].map(OsStr::new));
        }
        let refused = run(testbed
            .home
            .exec(&testbed.ticket.to_string(), options, canary.command()));
        refused.assert_failed(2, sentence);
        refused.assert_failed(2, &format!("for '{option} <"));
    }
    let mut show = testbed.home.baton();
    show.args(["thread", "show"])
        .arg(no_text)
        .arg(testbed.ticket.to_string());
    run(show).assert_failed(2, "for '<THREAD>': it is not UTF-8");
    canary.assert_not_run();
}

#[test]
fn bytes_that_are_not_utf_8_arrive_unchanged() {
    let testbed = Testbed::new();
    let bytes = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    let dir = testbed.home.file("dir").join(bytes(b"\xfe"));
    fs::create_dir_all(&dir).unwrap();
    let options = [
        bytes(b"--env"),
        bytes(b"A\xfd=\xff="),
        bytes(b"--cwd"),
        dir.as_os_str(),
    ];
    let script = r#"printf '%s|' "$1" "${PWD##*/}"; tr '\0' '\n' </proc/$$/environ | grep -a ^A"#;
    let command = [
        bytes(b"sh"),
        bytes(b"-c"),
        OsStr::new(script),
        bytes(b"sh"),
        bytes(b"\x80"),
    ];
    let finished = run(testbed.home.exec(&testbed.ticket.to_string(), options, command));
    assert_eq!(finished.stdout, b"\x80|\xfe|A\xfd=\xff=\n", "{finished:?}");
}

#[test]
fn two_exec_servers_cannot_hold_one_registration() {
    let testbed = Testbed::new();
    let mut second = testbed
        .home
        .baton_exec_server(&format!("http://{}", testbed.relay_address));
    // With one state directory the second would fail before it registers.
    second.args(["--state", "none"]);
    let second = RunningProgram::start("exec-server", second).unwrap();
    await_says(
        &second,
        "another exec-server with this key is registered and alive",
    );
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
}

#[test]
fn a_relay_with_a_list_takes_only_the_exec_servers_on_it() {
    let home = Home::new();
    let list = home.config("relay_servers");
    let write = |text: &str| {
        std::fs::write(&list, text).unwrap();
        std::fs::set_permissions(&list, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("# none yet\n");
    let start = || relay(&home, "127.0.0.1:0", &["--allow-servers", list.to_str().unwrap()]);
    let (_relay, address) = start();
    let refused = run(home.baton_exec_server(&format!("http://{address}")));
    let prefix = "the id of this exec-server is ";
    let id = refused.stderr.lines().find_map(|line| line.split(prefix).nth(1));
    let id = id.expect("it prints its id").to_owned();
    refused.assert_failed(255, &format!("does not list exec-server {id}"));

    write(&format!("{id} # the build machine\n"));
    let (_relay, address) = start();
    let mut exec_server = home.exec_server(&format!("http://{address}"));
    exec_server.line_after("ticket: ", PATIENCE).unwrap();
}

#[test]
fn a_relay_that_others_reach_without_a_list_says_that_anyone_may_register() {
    let home = Home::new();
    let (relay_part, _) = relay(&home, "0.0.0.0:0", &[]);
    await_says(&relay_part, "pass --allow-servers");
}
