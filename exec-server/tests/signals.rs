//! Signals of a client to its process group, and the time between one that ends and SIGKILL.

#[macro_use]
mod support;

use std::time::{Duration, Instant};

use baton_exec_server::SpawnMethod;
use baton_exec_server::limits::KILL_GRACE_MAX;
use baton_proto::exec::exec_error::Kind as ErrorKind;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::run_request::Kind as RequestKind;
use baton_proto::exec::{
    CallEnd as WireEnd, ListRequest, ListResponse, OutputStream, ProcessState, Signal, SignalRequest,
    Signaled, Start, exited,
};
use baton_proto::limits::PAGE_ITEMS_MAX;
use baton_trace::call_end::{CallEnd, CallEndCell};
use support::{Call, Host, eventually, group_is_gone, kind, start};
use tonic::{Code, Status};

with_each_spawn_method! {
    every_posix_signal_reaches_the_process_by_its_name,
    a_stopped_process_continues,
    a_signal_reaches_the_whole_group,
    a_signal_among_the_requests_reaches_the_process,
    an_unknown_name_among_the_requests_kills_and_in_a_call_of_its_own_does_not,
    another_keys_process_answers_like_an_unknown_one,
    a_process_that_has_ended_is_unknown,
    a_client_lists_its_own_processes_in_pages,
    a_process_that_handles_the_signal_has_its_own_exit_code,
    a_process_that_ignores_the_signal_is_killed_after_the_grace,
    a_kill_grace_of_0_kills_at_once,
    a_process_without_a_kill_grace_has_200_ms,
    the_rest_of_a_group_does_not_keep_its_slot_for_the_grace,
    the_deadline_leaves_the_grace_too,
    no_other_reason_leaves_the_grace,
    a_reset_ends_the_wait,
    a_shutdown_ends_the_wait,
}

/// The signals of POSIX and their numbers on Linux.
const SIGNALS: [(&str, i32); 29] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("POLL", 29),
    ("SYS", 31),
];

/// A shell that prints the number of each signal, and has no child. Its `read` is interrupted by each.
const REPORTS: &str = "\
    for n in 1 2 3 4 5 6 7 8 10 11 12 13 14 15 17 18 20 21 22 23 24 25 26 27 28 29 31; do trap \"echo $n\" $n; done; \
    echo ready; while :; do read -r line; done";

/// A loop of short sleeps, after which a shell handles its traps.
const WAITS: &str = "echo ready; while :; do sleep 0.02; done";

/// Kills that do not wait for a grace of minutes are done by then.
const AT_ONCE: Duration = Duration::from_secs(20);

fn script(text: &str) -> Start {
    start(&["sh", "-c", text])
}

/// A shell with these traps, which waits then.
fn traps(traps: &str) -> Start {
    script(&format!("{traps}; {WAITS}"))
}

fn with_kill_grace(grace: Duration, start: Start) -> Start {
    Start {
        kill_grace_ms: Some(grace.as_millis() as u32),
        ..start
    }
}

fn named(name: &str, ends: bool) -> Signal {
    Signal {
        name: name.into(),
        ends,
    }
}

/// A running process and its id.
struct Running {
    id: bytes::Bytes,
    pid: u32,
    call: Call,
    printed: Vec<u8>,
}

impl Running {
    /// Starts a shell and waits until it has printed `ready`.
    async fn start(host: &Host, start: Start) -> Self {
        let id = start.process_id.clone();
        let mut call = host.run(start).await.unwrap();
        let pid = call.pid().await;
        let mut running = Self {
            id,
            pid,
            call,
            printed: Vec::new(),
        };
        running.prints("ready\n").await;
        running
    }

    /// Waits until its standard output ends so.
    async fn prints(&mut self, end: &str) {
        let waiting = async {
            while !self.printed.ends_with(end.as_bytes()) {
                let Some(Kind::Output(output)) = self.call.next().await.unwrap() else {
                    panic!("it ended after {:?}", String::from_utf8_lossy(&self.printed));
                };
                // The shell may say on standard error which signal has ended its `sleep`.
                if output.stream() == OutputStream::Stdout {
                    self.printed.extend_from_slice(&output.data);
                }
            }
        };
        let waited = tokio::time::timeout(AT_ONCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("no {end:?} in {:?}", String::from_utf8_lossy(&self.printed)));
    }

    async fn signal(&self, host: &Host, name: &str) -> Result<(), Status> {
        signal(host, &self.id, named(name, false)).await
    }

    /// The client ends it.
    async fn end(&self, host: &Host, name: &str) {
        signal(host, &self.id, named(name, true)).await.unwrap();
    }

    /// Its exit status, and why it was killed.
    async fn exit(mut self) -> (exited::Status, WireEnd) {
        let waiting = async {
            loop {
                match self.call.next().await.unwrap() {
                    Some(Kind::Exited(exited)) => return (exited.status.unwrap(), exited.call_end()),
                    Some(_) => {}
                    None => panic!("no exit"),
                }
            }
        };
        tokio::time::timeout(AT_ONCE, waiting)
            .await
            .expect("it never exits")
    }
}

async fn signal(host: &Host, id: &bytes::Bytes, signal: Signal) -> Result<(), Status> {
    let request = SignalRequest {
        process_id: id.clone(),
        signal: Some(signal),
    };
    host.client.clone().signal(request).await.map(drop)
}

fn killed_by(signal: i32) -> exited::Status {
    exited::Status::Signaled(Signaled {
        signal,
        core_dumped: false,
    })
}

async fn every_posix_signal_reaches_the_process_by_its_name(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wanted = Start {
        stdin: true,
        ..script(REPORTS)
    };
    let mut running = Running::start(&host, wanted).await;
    for (name, number) in SIGNALS {
        if !["KILL", "STOP"].contains(&name) {
            running.signal(&host, name).await.unwrap();
            running.prints(&format!("\n{number}\n")).await;
        }
    }
    running.signal(&host, "KILL").await.unwrap();
    assert_eq!(running.exit().await, (killed_by(9), WireEnd::None));
}

async fn a_stopped_process_continues(method: SpawnMethod) {
    let host = Host::start(method).await;
    let mut running = Running::start(&host, traps("trap 'echo on' CONT")).await;
    running.signal(&host, "STOP").await.unwrap();
    let stat = format!("/proc/{}/stat", running.pid);
    // Stopped, or waiting for a stopped child that has not executed its program yet.
    eventually("it is not stopped", || {
        let stat = std::fs::read_to_string(&stat).unwrap();
        stat.contains(") T ") || stat.contains(") D ")
    })
    .await;
    running.signal(&host, "CONT").await.unwrap();
    running.prints("on\n").await;
}

async fn a_signal_reaches_the_whole_group(method: SpawnMethod) {
    let host = Host::start(method).await;
    let running = Running::start(&host, script("sleep 1000 & echo ready; sleep 1000")).await;
    let pid = running.pid;
    running.signal(&host, "TERM").await.unwrap();
    assert_eq!(running.exit().await, (killed_by(15), WireEnd::None));
    eventually("the group is left", || group_is_gone(pid)).await;
}

async fn a_signal_among_the_requests_reaches_the_process(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wanted = Start {
        stdin: true,
        ..traps("trap 'exit 7' USR1")
    };
    let running = Running::start(&host, wanted).await;
    let requests = running.call.requests.clone();
    requests.stdin(0, "input").await;
    requests.request(RequestKind::Signal(named("USR1", false))).await;
    assert_eq!(running.exit().await.0, exited::Status::Code(7));
}

async fn an_unknown_name_among_the_requests_kills_and_in_a_call_of_its_own_does_not(method: SpawnMethod) {
    let host = Host::start(method).await;
    for name in ["", "int", "SIGINT", "2", "EXIT"] {
        let mut running = Running::start(&host, traps("trap 'echo one' USR1")).await;
        let refused = running.signal(&host, name).await.unwrap_err();
        assert_eq!(
            (refused.code(), kind(&refused)),
            (Code::InvalidArgument, ErrorKind::InvalidSignal)
        );
        running.signal(&host, "USR1").await.unwrap();
        running.prints("one\n").await;

        let request = RequestKind::Signal(named(name, true));
        running.call.requests.request(request).await;
        let failed = running.call.failure().await;
        assert_eq!(
            (failed.code(), kind(&failed)),
            (Code::InvalidArgument, ErrorKind::InvalidSignal)
        );
        host.idle().await;
    }
}

async fn another_keys_process_answers_like_an_unknown_one(method: SpawnMethod) {
    let host = Host::start(method).await;
    let running = Running::start(&host, traps("trap 'exit 7' INT")).await;
    host.calls_as(2);
    let other = running.signal(&host, "KILL").await.unwrap_err();
    let unknown = signal(
        &host,
        &bytes::Bytes::from_static(&[0xff; 16]),
        named("KILL", false),
    )
    .await;
    let malformed = signal(&host, &bytes::Bytes::from_static(&[1; 15]), named("KILL", false)).await;
    for answer in [unknown.unwrap_err(), malformed.unwrap_err()] {
        assert_eq!(
            (answer.code(), answer.message(), answer.details()),
            (other.code(), other.message(), other.details())
        );
    }
    assert_eq!(
        (other.code(), kind(&other)),
        (Code::NotFound, ErrorKind::UnknownProcess)
    );
    host.calls_anonymously();
    let nobody = running.signal(&host, "KILL").await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    host.calls_as(1);
    running.signal(&host, "INT").await.unwrap();
    assert_eq!(running.exit().await.0, exited::Status::Code(7));
}

async fn a_process_that_has_ended_is_unknown(method: SpawnMethod) {
    let host = Host::start(method).await;
    let start = start(&["true"]);
    let id = start.process_id.clone();
    host.run(start).await.unwrap().finish().await;
    host.idle().await;
    let answer = signal(&host, &id, named("INT", false)).await.unwrap_err();
    assert_eq!(kind(&answer), ErrorKind::UnknownProcess);
}

async fn list(host: &Host, after: bytes::Bytes) -> ListResponse {
    let answer = host.client.clone().list(ListRequest { after }).await;
    answer.unwrap().into_inner()
}

async fn a_client_lists_its_own_processes_in_pages(method: SpawnMethod) {
    let host = Host::start(method).await;
    assert_eq!(list(&host, bytes::Bytes::new()).await, ListResponse::default());
    let mut calls = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..PAGE_ITEMS_MAX + 1 {
        let wanted = Start {
            thread_id: "chat".into(),
            ..start(&["sleep", "1000"])
        };
        ids.push(wanted.process_id.clone());
        calls.push(host.run(wanted).await.unwrap());
    }
    let first = list(&host, bytes::Bytes::new()).await;
    assert_eq!((first.processes.len(), first.more), (PAGE_ITEMS_MAX, true));
    let last = list(&host, first.processes[PAGE_ITEMS_MAX - 1].process_id.clone()).await;
    assert_eq!((last.processes.len(), last.more), (1, false));
    let all: Vec<_> = first.processes.iter().chain(&last.processes).collect();
    let listed: Vec<_> = all.iter().map(|process| process.process_id.clone()).collect();
    assert_eq!(listed, ids);
    for process in all {
        assert_eq!(process.argv, ["sleep", "1000"]);
        assert!(process.pid > 0 && process.started_unix_ns > 0 && !process.argv_cut);
        assert_eq!(
            (process.state(), &*process.thread_id),
            (ProcessState::Running, "chat")
        );
    }
    host.calls_as(2);
    assert_eq!(list(&host, bytes::Bytes::new()).await, ListResponse::default());
    let malformed = ListRequest {
        after: bytes::Bytes::from_static(&[1; 15]),
    };
    let refused = host.client.clone().list(malformed).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    host.calls_anonymously();
    let nobody = host
        .client
        .clone()
        .list(ListRequest::default())
        .await
        .unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
}

async fn a_process_that_handles_the_signal_has_its_own_exit_code(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wanted = with_kill_grace(KILL_GRACE_MAX, traps("trap 'exit 7' INT"));
    let running = Running::start(&host, wanted).await;
    running.end(&host, "INT").await;
    assert_eq!(running.exit().await, (exited::Status::Code(7), WireEnd::None));
    host.idle().await;
}

async fn a_process_that_ignores_the_signal_is_killed_after_the_grace(method: SpawnMethod) {
    const GRACE: Duration = Duration::from_millis(700);
    let host = Host::start(method).await;
    let wanted = with_kill_grace(GRACE, traps("trap '' INT TERM"));
    let running = Running::start(&host, wanted).await;
    let (pid, begun) = (running.pid, Instant::now());
    running.end(&host, "INT").await;
    assert_eq!(running.exit().await, (killed_by(9), WireEnd::Reset));
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    host.idle().await;
    assert!(group_is_gone(pid));

    // A signal that does not end is not followed by SIGKILL.
    let wanted = with_kill_grace(Duration::ZERO, traps("trap 'echo one' USR1"));
    let mut running = Running::start(&host, wanted).await;
    for _ in 0..3 {
        running.signal(&host, "USR1").await.unwrap();
        running.prints("one\n").await;
        running.printed.clear();
    }
}

async fn a_kill_grace_of_0_kills_at_once(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wanted = with_kill_grace(Duration::ZERO, traps("trap '' INT TERM"));
    let running = Running::start(&host, wanted).await;
    running.end(&host, "INT").await;
    assert_eq!(running.exit().await, (killed_by(9), WireEnd::Reset));
}

async fn a_process_without_a_kill_grace_has_200_ms(method: SpawnMethod) {
    let host = Host::start(method).await;
    let running = Running::start(&host, traps("trap '' INT TERM")).await;
    let begun = Instant::now();
    running.end(&host, "INT").await;
    assert_eq!(running.exit().await, (killed_by(9), WireEnd::Reset));
    assert!(
        begun.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
}

/// Its leader has exited and nothing holds its pipes, so nobody waits for what is left.
async fn the_rest_of_a_group_does_not_keep_its_slot_for_the_grace(method: SpawnMethod) {
    let host = Host::start(method).await;
    let text = format!("trap 'exit 7' INT; (trap '' INT TERM; sleep 1000) >/dev/null 2>&1 & {WAITS}");
    let running = Running::start(&host, with_kill_grace(KILL_GRACE_MAX, script(&text))).await;
    let pid = running.pid;
    running.end(&host, "INT").await;
    assert_eq!(running.exit().await.0, exited::Status::Code(7));
    host.idle().await;
    assert!(group_is_gone(pid));
}

/// Starts a process, and cuts its call short for this reason.
async fn cut(host: &Host, start: Start, end: CallEnd) {
    let cell = CallEndCell::default();
    host.ends_by(cell.clone());
    let running = Running::start(host, start).await;
    cell.set(end);
    drop(running.call);
}

async fn the_deadline_leaves_the_grace_too(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cleaned-up");
    // It takes longer than the 200 ms that other reasons leave.
    let trap = format!("trap 'sleep 1; : >{}; exit' TERM", file.display());
    cut(
        &host,
        with_kill_grace(KILL_GRACE_MAX, traps(&trap)),
        CallEnd::Deadline,
    )
    .await;
    host.idle().await;
    assert!(file.exists());

    const GRACE: Duration = Duration::from_millis(700);
    let begun = Instant::now();
    cut(
        &host,
        with_kill_grace(GRACE, traps("trap '' TERM")),
        CallEnd::Deadline,
    )
    .await;
    host.idle().await;
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
}

async fn no_other_reason_leaves_the_grace(method: SpawnMethod) {
    let host = Host::start(method).await;
    for end in CallEnd::ALL {
        if end != CallEnd::Deadline {
            let wanted = with_kill_grace(KILL_GRACE_MAX, traps("trap '' INT TERM"));
            cut(&host, wanted, end).await;
            host.idle().await;
        }
    }
}

async fn a_reset_ends_the_wait(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wanted = with_kill_grace(KILL_GRACE_MAX, traps("trap 'echo one' INT; trap '' TERM"));
    let mut running = Running::start(&host, wanted).await;
    running.end(&host, "INT").await;
    running.prints("one\n").await;
    assert_eq!(host.service.processes(), 1);
    drop(running);
    host.idle().await;
}

async fn a_shutdown_ends_the_wait(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wanted = || with_kill_grace(KILL_GRACE_MAX, traps("trap 'echo one' INT; trap '' TERM"));
    let mut running = Running::start(&host, wanted()).await;
    running.end(&host, "INT").await;
    running.prints("one\n").await;
    cut(&host, wanted(), CallEnd::Deadline).await;
    assert_eq!(host.service.shutdown().await, 0);
}
