//! Processes with a terminal, and login shells.

#[macro_use]
mod support;

use std::time::Duration;

use baton_exec_server::SpawnMethod;
use baton_proto::exec::exec_error::Kind as ErrorKind;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::run_request::Kind as RequestKind;
use baton_proto::exec::{Attach, ExecError, OutputStream, Signaled, Start, WindowSize, exited};
use baton_trace::call_end::{CallEnd, CallEndCell};
use support::{Call, Host, start};
use tokio::time::timeout;
use tonic::{Code, Status};

with_each_spawn_method! {
    a_process_has_a_terminal_of_its_size_and_job_control,
    a_resize_reaches_the_process,
    keys_are_signals,
    the_end_of_the_input_is_typed,
    all_output_before_the_exit_arrives,
    what_is_left_in_the_background_is_hung_up_after_the_drain,
    a_terminal_outlives_its_session,
    requests_that_no_terminal_can_heed_are_refused,
    a_login_shell_runs_a_line,
}

const SIZE: WindowSize = WindowSize {
    columns: 132,
    rows: 43,
    width_pixels: 0,
    height_pixels: 0,
};

fn in_terminal(script: &str) -> Start {
    Start {
        stdin: true,
        terminal: Some(SIZE),
        ..start(&["sh", "-c", script])
    }
}

/// A call, and what its terminal has shown.
struct Screen {
    call: Call,
    shown: Vec<u8>,
    status: Option<exited::Status>,
    truncated: Option<bool>,
    last: u64,
}

impl Screen {
    async fn start(host: &Host, start: Start) -> Self {
        Self::of(host.run(start).await.unwrap())
    }

    fn of(call: Call) -> Self {
        Self {
            call,
            shown: Vec::new(),
            status: None,
            truncated: None,
            last: 0,
        }
    }

    /// Takes the next event; false at the end.
    async fn next(&mut self) -> Result<bool, Status> {
        let next = timeout(Duration::from_secs(30), self.call.events.message()).await;
        let Some(event) = next.expect("nothing comes")? else {
            return Ok(false);
        };
        self.last = self.last.max(event.seq);
        match event.kind.unwrap() {
            Kind::Output(output) => {
                assert_eq!(output.stream(), OutputStream::Stdout);
                self.shown.extend_from_slice(&output.data);
            }
            Kind::Exited(exited) => self.status = exited.status,
            Kind::Closed(closed) => self.truncated = Some(closed.truncated),
            _ => {}
        }
        Ok(true)
    }

    async fn until(&mut self, text: &str) {
        while !self.text().contains(text) {
            assert!(self.next().await.unwrap(), "it ends with {:?}", self.text());
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    async fn finish(&mut self) -> exited::Status {
        while self.next().await.unwrap() {}
        self.status.expect("it never exited")
    }
}

async fn a_process_has_a_terminal_of_its_size_and_job_control(method: SpawnMethod) {
    let host = Host::start(method).await;
    // `set -m` fails without a terminal that controls the session.
    let script =
        "set -m; tty; stty size; stty -a | grep -o iutf8; [ -t 0 ] && [ -t 1 ] && [ -t 2 ]; echo $? >&2";
    let mut screen = Screen::start(&host, in_terminal(script)).await;
    assert_eq!(screen.finish().await, exited::Status::Code(0));
    let text = screen.text();
    let lines: Vec<_> = text.split("\r\n").collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{text:?}");
    assert_eq!(lines[1..], ["43 132", "iutf8", "0", ""], "{text:?}");
    assert_eq!(screen.truncated, Some(false));
}

async fn a_resize_reaches_the_process(method: SpawnMethod) {
    let host = Host::start(method).await;
    let script = "trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.02; done";
    let mut screen = Screen::start(&host, in_terminal(script)).await;
    screen.until("ready").await;
    let size = WindowSize {
        columns: 99,
        rows: 11,
        ..SIZE
    };
    screen.call.requests.request(RequestKind::Resize(size)).await;
    assert_eq!(screen.finish().await, exited::Status::Code(7));
    assert_eq!(screen.text(), "ready\r\n11 99\r\n");
}

async fn keys_are_signals(method: SpawnMethod) {
    let host = Host::start(method).await;
    let mut screen = Screen::start(&host, in_terminal("echo ready; exec sleep 600")).await;
    screen.until("ready").await;
    screen.call.requests.stdin(0, "\x03").await;
    let interrupted = exited::Status::Signaled(Signaled {
        signal: 2,
        core_dumped: false,
    });
    assert_eq!(screen.finish().await, interrupted);
    assert_eq!(screen.text(), "ready\r\n^C");
}

async fn the_end_of_the_input_is_typed(method: SpawnMethod) {
    let host = Host::start(method).await;
    for typed in ["one\ntwo\n", "one\ntwo", ""] {
        let mut screen = Screen::start(&host, in_terminal("stty -echo; echo ready; wc -c; echo end")).await;
        screen.until("ready").await;
        screen.call.requests.stdin(0, typed).await;
        screen.call.requests.close_stdin(typed.len() as u64).await;
        assert_eq!(screen.finish().await, exited::Status::Code(0), "{typed:?}");
        assert_eq!(screen.text(), format!("ready\r\n{}\r\nend\r\n", typed.len()));
    }
}

async fn all_output_before_the_exit_arrives(method: SpawnMethod) {
    let host = Host::start(method).await;
    let mut screen = Screen::start(&host, in_terminal("seq 1 50000")).await;
    assert_eq!(screen.finish().await, exited::Status::Code(0));
    let expected: String = (1..=50_000).map(|line| format!("{line}\r\n")).collect();
    assert!(screen.text() == expected, "{} bytes", screen.shown.len());
    assert_eq!(screen.truncated, Some(false));
}

async fn what_is_left_in_the_background_is_hung_up_after_the_drain(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    let script = format!(
        "(trap 'echo hung up >{told}; exit' HUP; trap '' TERM; echo ready; while :; do sleep 0.02; done) & sleep 0.1; exit 3",
        told = told.display()
    );
    let start = Start {
        drain_ms: Some(300),
        ..in_terminal(&script)
    };
    let mut screen = Screen::start(&host, start).await;
    assert_eq!(screen.finish().await, exited::Status::Code(3));
    support::eventually("the background process is not told", || {
        std::fs::read_to_string(&told).is_ok_and(|told| told == "hung up\n")
    })
    .await;
    host.idle().await;
}

async fn a_terminal_outlives_its_session(method: SpawnMethod) {
    let host = Host::start(method).await;
    let end = CallEndCell::default();
    host.ends_by(end.clone());
    let start = Start {
        grace_ms: 300_000,
        ..in_terminal("stty -echo; echo ready; read line; stty size; echo $line")
    };
    let mut screen = Screen::start(&host, start.clone()).await;
    screen.until("ready").await;
    end.set(CallEnd::ClientLost);
    let seen = screen.last;
    drop(screen);
    host.ends_by(CallEndCell::default());
    let attach = Attach {
        process_id: start.process_id.clone(),
        epoch: start.epoch.clone(),
        after_seq: seen,
        ..Attach::default()
    };
    let mut call = host.attach(attach).await.unwrap();
    let first = call.events.message().await.unwrap().unwrap();
    let Some(Kind::Attached(attached)) = first.kind else {
        panic!("{first:?}");
    };
    assert!(attached.terminal && !attached.stdin_closed, "{attached:?}");
    let mut screen = Screen::of(call);
    let size = WindowSize { columns: 7, ..SIZE };
    screen.call.requests.request(RequestKind::Resize(size)).await;
    screen.call.requests.stdin(attached.stdin_offset, "again\n").await;
    assert_eq!(screen.finish().await, exited::Status::Code(0));
    assert_eq!(screen.text(), "43 7\r\nagain\r\n");
}

async fn requests_that_no_terminal_can_heed_are_refused(method: SpawnMethod) {
    let host = Host::start(method).await;
    let refusal = |status: &Status| ExecError::from_details(status.details()).unwrap().kind();
    let too_large = WindowSize { rows: 65_536, ..SIZE };
    let starts = [
        Start {
            stdin: false,
            ..in_terminal("true")
        },
        Start {
            terminal: Some(too_large),
            ..in_terminal("true")
        },
        Start {
            login_shell: true,
            ..start(&["echo", "a"])
        },
    ];
    for start in starts {
        let refused = host.run(start).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(refusal(&refused), ErrorKind::InvalidStart);
    }
    let plain = Start {
        stdin: true,
        ..start(&["sh", "-c", "echo ready; exec sleep 600"])
    };
    for (start, size) in [
        (plain, SIZE),
        (in_terminal("echo ready; exec sleep 600"), too_large),
    ] {
        let mut screen = Screen::start(&host, start).await;
        screen.until("ready").await;
        screen.call.requests.request(RequestKind::Resize(size)).await;
        let refused = loop {
            match screen.next().await {
                Ok(true) => {}
                Ok(false) => panic!("it ends without an error"),
                Err(status) => break status,
            }
        };
        assert_eq!(refusal(&refused), ErrorKind::InvalidResize, "{refused}");
        host.idle().await;
    }
}

async fn a_login_shell_runs_a_line(method: SpawnMethod) {
    let host = Host::start(method).await;
    let line = Start {
        login_shell: true,
        ..start(&["echo \"$0\" | grep -c / ; echo 'a  b' $((1 + 2)); exit 5"])
    };
    let ran = host.run(line).await.unwrap().finish().await;
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "0\na  b 3\n");
    let interactive = Start {
        login_shell: true,
        argv: Vec::new(),
        ..in_terminal("")
    };
    let mut screen = Screen::start(&host, interactive).await;
    let typed = "case $0 in -*) echo log''in;; esac; exit 6\n";
    screen.call.requests.stdin(0, typed).await;
    assert_eq!(screen.finish().await, exited::Status::Code(6));
    assert!(screen.text().contains("login"), "{:?}", screen.text());
}
