//! A call attaches to a process in the place of a lost one: no event is missing, and none comes twice.

#[macro_use]
mod support;

use std::time::Duration;

use baton_exec_server::SpawnMethod;
use baton_exec_server::limits::{STDIN_TOLD_BYTES, WATCHERS_MAX};
use baton_proto::exec::exec_error::Kind as ErrorKind;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::run_request::Kind as RequestKind;
use baton_proto::exec::{
    Attach, Attached, CallEnd as WireEnd, ExecError, ProcessEvent, Start, WaitRequest, exited,
};
use baton_proto::limits::RECEIVED_MAX;
use baton_trace::call_end::{CallEnd, CallEndCell};
use baton_trace::stage::exec::PROCESS;
use baton_trace::w3c::TraceContext;
use prost::Message as _;
use support::{Call, Host, eventually, start};
use tonic::{Code, Status};

with_each_spawn_method! {
    what_was_on_the_way_comes_again_and_the_rest_follows,
    bulk_output_arrives_whole_over_many_losses,
    output_that_is_not_consumed_is_kept_whatever_the_key_keeps,
    input_goes_on_where_the_process_took_it,
    a_process_tells_what_it_has_taken_of_its_input,
    a_second_call_ends_the_first_which_kills_nothing_any_more,
    a_reset_of_the_call_that_is_attached_kills,
    a_loss_of_the_call_that_is_attached_begins_a_whole_grace,
    a_process_that_has_ended_is_kept_for_its_grace,
    what_a_client_has_received_is_kept_no_longer,
    a_call_that_cannot_attach_gets_a_typed_error_and_the_process_goes_on,
    the_stages_of_the_process_are_told_by_the_call_that_is_attached,
    a_wait_gets_the_end_although_nobody_reads_the_output_and_takes_nothing,
    watchers_read_beside_the_call_and_their_end_affects_nothing,
}

const LONG: Duration = Duration::from_secs(300);

fn graced(argv: &[&str]) -> Start {
    Start {
        grace_ms: LONG.as_millis() as u32,
        ..start(argv)
    }
}

fn after(start: &Start, seq: u64) -> Attach {
    Attach {
        process_id: start.process_id.clone(),
        epoch: start.epoch.clone(),
        after_seq: seq,
        tell_stdin: false,
        watch: false,
        since_unix_ns: 0,
    }
}

/// A client that loses its calls.
struct Client<'a> {
    host: &'a Host,
    start: Start,
    /// `None` while it is lost.
    call: Option<Call>,
    end: CallEndCell,
    /// The bytes of the call's response that were read.
    consumed: u64,
    last: u64,
    stdout: Vec<u8>,
    code: Option<exited::Status>,
    is_closed: bool,
}

impl<'a> Client<'a> {
    async fn start(host: &'a Host, start: Start) -> Self {
        let end = CallEndCell::counting();
        host.ends_by(end.clone());
        Self {
            host,
            call: Some(host.run(start.clone()).await.unwrap()),
            start,
            end,
            consumed: 0,
            last: 0,
            stdout: Vec::new(),
            code: None,
            is_closed: false,
        }
    }

    /// The next event, checked; `None` at the end.
    async fn next(&mut self) -> Option<Kind> {
        let call = self.call.as_mut().expect("lost");
        let event = call.events.message().await.unwrap()?;
        self.consumed += 5 + event.encoded_len() as u64;
        self.end.set_consumed(self.consumed);
        let ProcessEvent { seq, kind } = event;
        if seq > 0 {
            assert_eq!(seq, self.last + 1);
            self.last = seq;
        }
        let kind = kind.unwrap();
        match &kind {
            Kind::Output(output) => self.stdout.extend_from_slice(&output.data),
            Kind::Exited(exited) => assert!(std::mem::replace(&mut self.code, exited.status).is_none()),
            Kind::Closed(closed) => {
                assert_eq!(closed.stdout_bytes, self.stdout.len() as u64);
                self.is_closed = true;
            }
            other @ (Kind::Gap(_) | Kind::Repeated(_)) => panic!("{other:?}"),
            _ => {}
        }
        Some(kind)
    }

    /// Reads until this much output has arrived.
    async fn read(&mut self, bytes: usize) {
        while self.stdout.len() < bytes {
            self.next().await.expect("the output ends early");
        }
    }

    /// Loses the call, and what is on the way.
    fn lose(&mut self) {
        self.end.set(CallEnd::ClientLost);
        self.call = None;
    }

    /// Attaches. A call that is not lost ends.
    async fn attach(&mut self) -> Attached {
        (self.end, self.consumed) = (CallEndCell::counting(), 0);
        self.host.ends_by(self.end.clone());
        let attach = after(&self.start, self.last);
        self.call = Some(self.host.attach(attach).await.unwrap());
        match self.next().await {
            Some(Kind::Attached(attached)) => attached,
            other => panic!("{other:?}"),
        }
    }

    fn requests(&self) -> &support::Requests {
        &self.call.as_ref().expect("lost").requests
    }

    async fn finish(mut self) -> (Vec<u8>, exited::Status) {
        while self.next().await.is_some() {}
        assert!(self.is_closed);
        (self.stdout, self.code.expect("no exit"))
    }
}

/// A script that goes on when this file exists.
fn gate(directory: &tempfile::TempDir) -> (String, std::path::PathBuf) {
    let go = directory.path().join("go");
    (format!("until [ -e {} ]; do sleep 0.01; done", go.display()), go)
}

#[track_caller]
fn assert_refused(result: Result<Call, Status>, code: Code, kind: ErrorKind) {
    let Err(status) = result else {
        panic!("the call was attached")
    };
    assert_is(&status, code, kind);
}

#[track_caller]
fn assert_is(status: &Status, code: Code, kind: ErrorKind) {
    let detail = ExecError::from_details(status.details()).map(|detail| detail.kind());
    assert_eq!((status.code(), detail), (code, Some(kind)), "{status:?}");
}

async fn what_was_on_the_way_comes_again_and_the_rest_follows(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let (wait, go) = gate(&directory);
    let script = format!("echo one; {wait}; echo two; exit 7");
    let mut client = Client::start(&host, graced(&["sh", "-c", &script])).await;
    client.read(4).await;
    // As if the output had been lost.
    (client.last, client.stdout) = (1, Vec::new());
    client.lose();
    let attached = client.attach().await;
    assert_eq!(
        (attached.stdin_closed, attached.grace_ms),
        (true, LONG.as_millis() as u32)
    );
    client.read(4).await;
    client.lose();
    std::fs::write(&go, "").unwrap();
    host.idle().await;
    client.attach().await;
    assert_eq!(
        client.finish().await,
        (b"one\ntwo\n".to_vec(), exited::Status::Code(7))
    );
}

async fn bulk_output_arrives_whole_over_many_losses(method: SpawnMethod) {
    const LAST: usize = 1_500_000;
    let host = Host::start(method).await;
    let mut client = Client::start(&host, graced(&["seq", &LAST.to_string()])).await;
    let expected: String = (1..=LAST).map(|number| format!("{number}\n")).collect();
    for part in 1..10 {
        client.read(expected.len() * part / 10).await;
        client.lose();
        client.attach().await;
    }
    let (stdout, status) = client.finish().await;
    assert!(
        stdout == expected.as_bytes(),
        "{} bytes of {}",
        stdout.len(),
        expected.len()
    );
    assert_eq!(status, exited::Status::Code(0));
}

async fn output_that_is_not_consumed_is_kept_whatever_the_key_keeps(method: SpawnMethod) {
    const BYTES: usize = 1_000_000;
    let host = Host::with(support::service(method).kept_bytes(256 * 1024)).await;
    let bulk = format!("head -c {BYTES} /dev/zero");
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Client::start(&host, graced(&["sh", "-c", &bulk])).await;
        client.read(1).await;
        clients.push(client);
    }
    // A client of another key is not held up by those.
    host.calls_as(2);
    let other = Client::start(&host, graced(&["sh", "-c", &bulk])).await;
    assert_eq!(other.finish().await.0.len(), BYTES);
    host.calls_as(1);
    clients.iter_mut().for_each(Client::lose);
    for mut client in clients {
        client.attach().await;
        assert_eq!(client.finish().await.0.len(), BYTES);
    }
}

async fn input_goes_on_where_the_process_took_it(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let (wait, go) = gate(&directory);
    // More than its pipe takes before it reads.
    let input: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let cat = Start {
        stdin: true,
        ..graced(&["sh", "-c", &format!("{wait}; cat; printf end")])
    };
    let mut client = Client::start(&host, cat).await;
    client.requests().stdin(0, input.clone()).await;
    let taken = |attached: &Attached| attached.stdin_offset as usize;
    let mut attached = Attached::default();
    while taken(&attached) == 0 {
        // The input needs some time to arrive.
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.lose();
        attached = client.attach().await;
        client
            .requests()
            .stdin(attached.stdin_offset, input[taken(&attached)..].to_vec())
            .await;
    }
    assert!(
        taken(&attached) < input.len() && !attached.stdin_closed,
        "{attached:?}"
    );
    std::fs::write(&go, "").unwrap();
    client.read(input.len() / 2).await;
    client.lose();
    let attached = client.attach().await;
    let rest = input[taken(&attached)..].to_vec();
    client.requests().stdin(attached.stdin_offset, rest).await;
    client.requests().close_stdin(input.len() as u64).await;
    // The end of the input has arrived. The session could be lost before, as soon as all output has come back.
    client.read(input.len() + "end".len()).await;
    client.lose();
    assert!(client.attach().await.stdin_closed);
    let (stdout, status) = client.finish().await;
    let expected = [&input[..], b"end"].concat();
    assert!(stdout == expected, "{} bytes of {}", stdout.len(), expected.len());
    assert_eq!(status, exited::Status::Code(0));
}

async fn a_process_tells_what_it_has_taken_of_its_input(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wc = Start {
        stdin: true,
        tell_stdin: true,
        ..graced(&["wc", "-c"])
    };
    let mut client = Client::start(&host, wc).await;
    let requests = client.requests().clone();
    tokio::spawn(async move {
        for piece in 0..8 {
            let data = vec![0; STDIN_TOLD_BYTES as usize];
            requests.stdin(piece * STDIN_TOLD_BYTES, data).await;
        }
        requests.close_stdin(8 * STDIN_TOLD_BYTES).await;
    });
    let mut told = 0;
    while let Some(event) = client.next().await {
        if let Kind::StdinTaken(taken) = event {
            assert!(taken.offset >= told + STDIN_TOLD_BYTES, "{taken:?} after {told}");
            told = taken.offset;
        }
    }
    assert!(told >= 6 * STDIN_TOLD_BYTES, "{told}");
    assert_eq!(client.stdout, format!("{}\n", 8 * STDIN_TOLD_BYTES).as_bytes());
}

async fn a_second_call_ends_the_first_which_kills_nothing_any_more(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let (wait, go) = gate(&directory);
    let mut client = Client::start(&host, graced(&["sh", "-c", &format!("{wait}; echo out")])).await;
    client.next().await;
    let (first, end) = (client.call.take().unwrap(), client.end.clone());
    client.attach().await;
    let status = first.failure().await;
    assert_is(&status, Code::Aborted, ErrorKind::Superseded);
    end.set(CallEnd::Reset);
    std::fs::write(&go, "").unwrap();
    assert_eq!(
        client.finish().await,
        (b"out\n".to_vec(), exited::Status::Code(0))
    );
}

async fn a_reset_of_the_call_that_is_attached_kills(method: SpawnMethod) {
    let host = Host::start(method).await;
    let mut client = Client::start(&host, graced(&["sleep", "1000"])).await;
    client.next().await;
    client.lose();
    client.attach().await;
    client.end.set(CallEnd::Reset);
    client.call = None;
    host.idle().await;
    let mut call = host.attach(after(&client.start, 1)).await.unwrap();
    while let Some(kind) = call.next().await.unwrap() {
        if let Kind::Exited(exited) = kind {
            assert_eq!(exited.call_end(), WireEnd::Reset);
            return;
        }
    }
    panic!("no exit");
}

async fn a_loss_of_the_call_that_is_attached_begins_a_whole_grace(method: SpawnMethod) {
    const GRACE: Duration = Duration::from_secs(1);
    let host = Host::start(method).await;
    let short = Start {
        grace_ms: GRACE.as_millis() as u32,
        ..start(&["sleep", "1000"])
    };
    let mut client = Client::start(&host, short).await;
    client.next().await;
    for _ in 0..3 {
        client.lose();
        tokio::time::sleep(GRACE / 2).await;
        client.attach().await;
        tokio::time::sleep(GRACE / 2).await;
        assert_eq!(host.service.processes(), 1);
    }
    client.lose();
    let lost = std::time::Instant::now();
    host.idle().await;
    assert!(lost.elapsed() >= GRACE, "{:?}", lost.elapsed());
}

/// The kinds of the events that a call gets which attaches after `seq`.
async fn kinds(host: &Host, start: &Start, seq: u64) -> Vec<&'static str> {
    let events = host.attach(after(start, seq)).await.unwrap().events().await;
    let name = |event: ProcessEvent| match event.kind.unwrap() {
        Kind::Attached(_) => "attached",
        Kind::Started(_) => "started",
        Kind::Output(_) => "output",
        Kind::Gap(_) => "gap",
        Kind::Repeated(_) => "repeated",
        Kind::Exited(_) => "exited",
        Kind::Closed(_) => "closed",
        Kind::StdinTaken(_) => "stdin taken",
    };
    events.into_iter().map(name).collect()
}

async fn a_process_that_has_ended_is_kept_for_its_grace(method: SpawnMethod) {
    let host = Host::start(method).await;
    let brief = Start {
        grace_ms: 2_000,
        ..start(&["sh", "-c", "echo out; exit 3"])
    };
    let mut client = Client::start(&host, brief).await;
    while client.next().await.is_some() {}
    host.idle().await;
    let start = client.start;
    let kinds = async |seq| kinds(&host, &start, seq).await;
    assert_eq!(
        kinds(0).await,
        ["attached", "started", "output", "exited", "closed"]
    );
    assert_eq!(kinds(3).await, ["attached", "closed"]);
    assert_eq!(kinds(4).await, ["attached"]);
    // Then only its end is remembered.
    let forgotten = ["attached", "gap", "exited", "closed"];
    let begun = std::time::Instant::now();
    while kinds(0).await != forgotten {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(kinds(4).await, ["attached"]);
}

async fn what_a_client_has_received_is_kept_no_longer(method: SpawnMethod) {
    let host = Host::start(method).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::start(&host, graced(&["echo", "out"])).await;
        while client.next().await.is_some() {}
        clients.push(client);
    }
    host.idle().await;
    let whole = ["attached", "started", "output", "exited", "closed"];
    let ids: Vec<_> = clients
        .iter()
        .map(|client| &client.start.process_id[..])
        .collect();
    let received = |ids: &[u8]| Start {
        received: ids.to_vec().into(),
        ..start(&["true"])
    };
    // Another key's client names it, and one that cannot be.
    host.calls_as(2);
    host.run(received(ids[0])).await.unwrap().finish().await;
    host.calls_as(1);
    for bad in [&ids[0][1..], &[0; 16 * (RECEIVED_MAX + 1)]] {
        assert_refused(
            host.run(received(bad)).await,
            Code::InvalidArgument,
            ErrorKind::InvalidStart,
        );
    }
    assert_eq!(kinds(&host, &clients[0].start, 0).await, whole);

    host.run(received(ids[0])).await.unwrap().finish().await;
    let forgotten = ["attached", "gap", "exited", "closed"];
    assert_eq!(kinds(&host, &clients[0].start, 0).await, forgotten);
    assert_eq!(kinds(&host, &clients[1].start, 0).await, whole);
}

async fn a_call_that_cannot_attach_gets_a_typed_error_and_the_process_goes_on(method: SpawnMethod) {
    let host = Host::start(method).await;
    let mut client = Client::start(&host, graced(&["sleep", "1000"])).await;
    client.next().await;
    let known = after(&client.start, 0);
    let attach = |attach: Attach| host.attach(attach);

    let unknown = Attach {
        process_id: vec![9; 16].into(),
        ..known.clone()
    };
    assert_refused(attach(unknown).await, Code::NotFound, ErrorKind::UnknownProcess);
    let other_epoch = Attach {
        epoch: vec![9; 16].into(),
        ..known.clone()
    };
    assert_refused(attach(other_epoch).await, Code::Aborted, ErrorKind::Lost);
    let ahead = Attach {
        after_seq: 2,
        ..known.clone()
    };
    assert_refused(attach(ahead).await, Code::OutOfRange, ErrorKind::InvalidAttach);
    for (process_id, epoch) in [(15, 16), (16, 15), (0, 16)] {
        let malformed = Attach {
            process_id: vec![1; process_id].into(),
            epoch: vec![7; epoch].into(),
            ..known.clone()
        };
        let refused = attach(malformed).await;
        assert_refused(refused, Code::InvalidArgument, ErrorKind::InvalidAttach);
    }
    let first = host.send_attach(RequestKind::Start(client.start.clone())).await;
    assert_refused(first, Code::InvalidArgument, ErrorKind::InvalidAttach);
    host.calls_as(2);
    assert_refused(
        attach(known.clone()).await,
        Code::NotFound,
        ErrorKind::UnknownProcess,
    );
    host.calls_as(1);

    host.ends_by(CallEndCell::default());
    let without = start(&["sleep", "1000"]);
    let mut call = host.run(without.clone()).await.unwrap();
    call.pid().await;
    assert_refused(
        attach(after(&without, 0)).await,
        Code::FailedPrecondition,
        ErrorKind::NoGrace,
    );
    drop(call);
    eventually("one process is killed", || host.service.processes() == 1).await;

    // Without an epoch it is the process of the present run.
    let bare = Attach {
        epoch: Default::default(),
        ..known
    };
    assert!(attach(bare).await.is_ok());
}

async fn the_stages_of_the_process_are_told_by_the_call_that_is_attached(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let (wait, go) = gate(&directory);
    host.traced(TraceContext::new_root(true));
    let mut client = Client::start(&host, graced(&["sh", "-c", &wait])).await;
    let started = host.last_call();
    client.next().await;
    client.lose();
    client.attach().await;
    let attached = host.last_call();
    std::fs::write(&go, "").unwrap();
    client.finish().await;
    let told = attached.told().expect("nothing is told");
    assert_eq!(told.anchor.unix_ns, started.anchor().unix_ns);
    assert!(told.stages.iter().any(|stage| stage.stage == PROCESS));
    // Only the call that started it exports them.
    assert!(attached.stages().iter().all(|stage| stage.stage != PROCESS));
    assert!(started.stages().iter().any(|stage| stage.stage == PROCESS));
}

async fn a_wait_gets_the_end_although_nobody_reads_the_output_and_takes_nothing(method: SpawnMethod) {
    let host = Host::start(method).await;
    // Without a grace, too.
    let unread = start(&["sh", "-c", "seq 1 20000; exit 6"]);
    let call = host.run(unread.clone()).await.unwrap();
    let wait = |start: &Start| WaitRequest {
        process_id: start.process_id.clone(),
        epoch: start.epoch.clone(),
    };
    let ended = host.wait(wait(&unread)).await.unwrap();
    let [exited, closed] = &ended[..] else {
        panic!("{ended:?}")
    };
    assert!(exited.seq < closed.seq);
    let Some(Kind::Exited(exited)) = &exited.kind else {
        panic!("{exited:?}")
    };
    assert_eq!(exited.status, Some(exited::Status::Code(6)));
    assert_eq!(call.finish().await.code(), 6);
    // Also once it has ended, but not of another key.
    host.idle().await;
    assert_eq!(host.wait(wait(&unread)).await.unwrap(), ended);
    host.calls_as(2);
    let status = host.wait(wait(&unread)).await.unwrap_err();
    assert_is(&status, Code::NotFound, ErrorKind::UnknownProcess);
}

async fn watchers_read_beside_the_call_and_their_end_affects_nothing(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let (wait, go) = gate(&directory);
    let script = format!("echo one; {wait}; echo two");
    let mut client = Client::start(&host, graced(&["sh", "-c", &script])).await;
    client.read(4).await;
    let watch = Attach {
        watch: true,
        ..after(&client.start, 0)
    };
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS_MAX {
        host.ends_by(CallEndCell::default());
        watchers.push(host.attach(watch.clone()).await.unwrap());
    }
    let Err(status) = host.attach(watch.clone()).await else {
        panic!("one watcher more than there may be")
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    // All but one leave. Neither that nor what they have read changes anything for the call.
    let mut watcher = watchers.pop().unwrap();
    drop(watchers);
    let mut output = Vec::new();
    while output.len() < 4 {
        if let Some(Kind::Output(piece)) = watcher.next().await.unwrap() {
            output.extend_from_slice(&piece.data);
        }
    }
    std::fs::write(&go, "").unwrap();
    while let Some(kind) = watcher.next().await.unwrap() {
        if let Kind::Output(piece) = kind {
            output.extend_from_slice(&piece.data);
        }
    }
    assert_eq!(output, b"one\ntwo\n");
    assert_eq!(
        client.finish().await,
        (b"one\ntwo\n".to_vec(), exited::Status::Code(0))
    );

    // One that watches a command which is killed gets its end, without what was dropped.
    let mut client = Client::start(&host, graced(&["sh", "-c", "echo out; sleep 1000"])).await;
    client.read(4).await;
    let mut watcher = host
        .attach(Attach {
            watch: true,
            ..after(&client.start, 2)
        })
        .await
        .unwrap();
    client.end.set(CallEnd::Reset);
    client.call = None;
    let mut last = None;
    while let Some(kind) = watcher.next().await.unwrap() {
        last = Some(kind);
    }
    assert!(matches!(last, Some(Kind::Closed(_))), "{last:?}");
}
