//! A process outlives its lost session for its grace, and nothing else.

#[macro_use]
mod support;

use std::time::{Duration, Instant};

use baton_exec_server::SpawnMethod;
use baton_exec_server::limits::{GRACE_MAX, LOG_BYTES};
use baton_export::clock;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{CallEnd as WireEnd, Closed, Exited, Start, exited};
use baton_trace::call_end::{CallDeadline, CallEnd, CallEndCell};
use support::{Call, Host, eventually, group_is_gone, service, start};

with_each_spawn_method! {
    a_process_runs_on_after_its_session_is_lost_and_ends_by_itself,
    a_process_is_killed_when_its_grace_expires,
    every_other_reason_kills_at_once,
    a_request_that_breaks_the_protocol_kills_at_once,
    a_shutdown_kills_during_the_grace,
    the_deadline_of_the_call_holds_during_the_grace,
    the_server_limits_the_grace,
    output_of_the_grace_is_bounded,
    a_child_sees_no_end_of_its_input_during_the_grace,
}

const LONG: Duration = Duration::from_secs(300);

/// Kills that do not wait for [`LONG`] are done by then.
const AT_ONCE: Duration = Duration::from_secs(20);

fn with_grace(grace: Duration, argv: &[&str]) -> Start {
    Start {
        grace_ms: grace.as_millis() as u32,
        ..start(argv)
    }
}

/// A started call, whose end has a reason.
struct Cut {
    call: Call,
    cell: CallEndCell,
    start: Start,
    pid: u32,
    grace: Duration,
}

impl Cut {
    async fn start(host: &Host, start: Start) -> Self {
        let cell = CallEndCell::default();
        host.ends_by(cell.clone());
        let mut call = host.run(start.clone()).await.unwrap();
        let Some(Kind::Started(started)) = call.next().await.unwrap() else {
            panic!("no Started");
        };
        Self {
            call,
            cell,
            start,
            pid: started.pid,
            grace: Duration::from_millis(started.grace_ms.into()),
        }
    }

    /// Cuts the call short, as the channel does. Returns the start.
    fn by(self, end: CallEnd) -> Start {
        self.cell.set(end);
        drop(self.call);
        self.start
    }
}

/// The end of a process, from the answer to its repeated start.
async fn end_of(host: &Host, start: Start) -> (Exited, Closed) {
    host.ends_by(CallEndCell::default());
    let events = host.run(start).await.unwrap().events().await;
    let kinds: Vec<_> = events.into_iter().map(|event| event.kind.unwrap()).collect();
    match &kinds[..] {
        [Kind::Exited(exited), Kind::Closed(closed)] => (exited.clone(), closed.clone()),
        other => panic!("{other:?}"),
    }
}

async fn call_end_of(host: &Host, start: Start) -> WireEnd {
    end_of(host, start).await.0.call_end()
}

async fn a_process_runs_on_after_its_session_is_lost_and_ends_by_itself(method: SpawnMethod) {
    for end in [CallEnd::ClientLost, CallEnd::ConnectionLost] {
        let host = Host::start(method).await;
        let directory = tempfile::tempdir().unwrap();
        let (go, done) = (directory.path().join("go"), directory.path().join("done"));
        let script = format!(
            "until [ -e {} ]; do sleep 0.01; done; echo out; : >{}; exit 7",
            go.display(),
            done.display()
        );
        let cut = Cut::start(&host, with_grace(LONG, &["sh", "-c", &script])).await;
        let start = cut.by(end);
        // The call has ended before its process is told to go on.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(host.service.processes(), 1);
        std::fs::write(&go, "").unwrap();
        eventually("it runs on", || done.exists()).await;
        host.idle().await;
        let (exited, closed) = end_of(&host, start).await;
        assert_eq!(exited.status, Some(exited::Status::Code(7)));
        assert_eq!((exited.call_end(), closed.stdout_bytes), (WireEnd::None, 4));
    }
}

async fn a_process_is_killed_when_its_grace_expires(method: SpawnMethod) {
    const GRACE: Duration = Duration::from_millis(500);
    let host = Host::start(method).await;
    let cut = Cut::start(&host, with_grace(GRACE, &["sh", "-c", "sleep 1000 & sleep 1000"])).await;
    assert_eq!(cut.grace, GRACE);
    let pid = cut.pid;
    let begun = Instant::now();
    let start = cut.by(CallEnd::ClientLost);
    host.idle().await;
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    assert!(group_is_gone(pid));
    assert_eq!(call_end_of(&host, start).await, WireEnd::GraceExpired);
}

async fn every_other_reason_kills_at_once(method: SpawnMethod) {
    let host = Host::start(method).await;
    for end in CallEnd::ALL {
        if matches!(end, CallEnd::ClientLost | CallEnd::ConnectionLost) {
            continue;
        }
        let cut = Cut::start(&host, with_grace(LONG, &["sleep", "1000"])).await;
        let begun = Instant::now();
        let start = cut.by(end);
        host.idle().await;
        assert!(begun.elapsed() < AT_ONCE, "{end:?}");
        assert_eq!(call_end_of(&host, start).await, CallEnd::to_wire(Some(end)));
    }
}

async fn a_request_that_breaks_the_protocol_kills_at_once(method: SpawnMethod) {
    let host = Host::start(method).await;
    let cut = Cut::start(&host, with_grace(LONG, &["sleep", "1000"])).await;
    cut.call.requests.ack(99).await;
    host.idle().await;
    assert_eq!(call_end_of(&host, cut.start).await, WireEnd::Violation);
}

async fn a_shutdown_kills_during_the_grace(method: SpawnMethod) {
    let host = Host::start(method).await;
    let cut = Cut::start(&host, with_grace(LONG, &["sleep", "1000"])).await;
    let start = cut.by(CallEnd::ClientLost);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(host.service.processes(), 1);
    assert_eq!(host.service.shutdown().await, 0);
    assert_eq!(call_end_of(&host, start).await, WireEnd::ShutDown);
}

async fn the_deadline_of_the_call_holds_during_the_grace(method: SpawnMethod) {
    let host = Host::start(method).await;
    host.calls_end_at(CallDeadline(clock::now() + Duration::from_millis(700)));
    let cut = Cut::start(&host, with_grace(LONG, &["sleep", "1000"])).await;
    let start = cut.by(CallEnd::ConnectionLost);
    host.idle().await;
    assert_eq!(call_end_of(&host, start).await, WireEnd::Deadline);
}

async fn the_server_limits_the_grace(method: SpawnMethod) {
    let whole = Duration::from_millis(u64::from(u32::MAX));
    let host = Host::start(method).await;
    assert_eq!(
        Cut::start(&host, with_grace(whole, &["true"])).await.grace,
        GRACE_MAX
    );
    assert_eq!(Cut::start(&host, start(&["true"])).await.grace, Duration::ZERO);

    let host = Host::with(service(method).max_grace(Duration::ZERO)).await;
    let cut = Cut::start(&host, with_grace(LONG, &["sleep", "1000"])).await;
    assert_eq!(cut.grace, Duration::ZERO);
    let start = cut.by(CallEnd::ClientLost);
    host.idle().await;
    assert_eq!(call_end_of(&host, start).await, WireEnd::ClientLost);
}

async fn output_of_the_grace_is_bounded(method: SpawnMethod) {
    let host = Host::start(method).await;
    let grace = Duration::from_millis(700);
    let cut = Cut::start(&host, with_grace(grace, &["cat", "/dev/zero"])).await;
    let start = cut.by(CallEnd::ClientLost);
    host.idle().await;
    let (exited, closed) = end_of(&host, start).await;
    assert_eq!(exited.call_end(), WireEnd::GraceExpired);
    // The log, what the transport took before the loss, and what is read while the child is being killed. Unbounded, it
    // would be gigabytes.
    let most = 128 * LOG_BYTES as u64;
    assert!(closed.stdout_bytes <= most, "{}", closed.stdout_bytes);
}

async fn a_child_sees_no_end_of_its_input_during_the_grace(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let ended = directory.path().join("ended");
    let script = format!("trap 'exit 9' TERM; cat; : >{}", ended.display());
    let wanted = Start {
        stdin: true,
        ..with_grace(Duration::from_millis(500), &["sh", "-c", &script])
    };
    let cut = Cut::start(&host, wanted).await;
    let start = cut.by(CallEnd::ClientLost);
    host.idle().await;
    assert!(!ended.exists());
    assert_eq!(call_end_of(&host, start).await, WireEnd::GraceExpired);
}
