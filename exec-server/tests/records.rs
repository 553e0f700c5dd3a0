//! What the observer receives, and when, and that nothing waits for it.

#[macro_use]
mod support;

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use baton_exec_server::records::{
    Accepted, Answer, Gate, Measured, NotDurable, Observer, ProcessKey, Records,
};
use baton_exec_server::termination::{Close, Exit, StopReason};
use baton_exec_server::{SpawnMethod, StartError};
use baton_proto::exec::exec_error::Kind;
use baton_proto::exec::process_event::Kind as EventKind;
use baton_proto::exec::{Signaled, Start, ThreadMetadata, exited};
use baton_trace::call_end::{CallEnd, CallEndCell};
use baton_trace::stage::exec;
use baton_trace::w3c::TraceContext;
use support::{Host, eventually, kind, start};
use tokio::sync::watch;

with_each_spawn_method! {
    all_that_a_client_has_seen_was_reported_before,
    the_first_event_is_sent_before_its_delivery_is_reported,
    a_start_that_runs_nothing_is_reported_as_refused,
    the_reason_of_a_kill_is_reported,
    the_progress_of_a_process_that_prints_is_reported,
    the_last_output_is_reported_though_no_more_follows,
    a_gate_holds_the_spawn_and_nothing_after_it,
    a_start_that_cannot_be_made_durable_is_refused_and_may_be_repeated,
    an_id_that_an_earlier_epoch_accepted_is_lost_and_not_run_again,
    a_call_that_ends_while_its_start_waits_leaves_nothing_behind,
}

/// The calls of an observer, as text.
#[derive(Debug, Default)]
struct RecordingObserver(Mutex<Vec<String>>);

impl RecordingObserver {
    fn say(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn has(&self, what: &str) -> bool {
        self.count(what) > 0
    }

    fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|told| told.starts_with(what)).count()
    }
}

impl Observer for RecordingObserver {
    fn accepted(&self, process: ProcessKey, accepted: &Accepted<'_>) {
        assert_eq!(accepted.client_name, "test");
        assert!(accepted.at_unix_ns > 1_600_000_000_000_000_000);
        let thread = accepted
            .thread
            .map(|thread| thread.id.clone())
            .unwrap_or_default();
        let program = accepted.argv[0].to_str().unwrap();
        let client = process.client.as_bytes()[0];
        let (turn, step) = (
            accepted.turn.map_or(0, NonZeroU64::get),
            accepted.step.unwrap_or_default(),
        );
        self.say(format!(
            "accepted {program} of {client} on {thread:?} {turn} {step:?}"
        ));
    }

    fn refused(&self, _: ProcessKey, why: &StartError, _: u64) {
        self.say(format!("refused {why:?}"));
    }

    fn started(&self, _: ProcessKey, pid: u32, _: u64) {
        assert!(pid > 1);
        self.say("started".into());
    }

    fn delivered(&self, _: ProcessKey) {
        self.say("delivered".into());
    }

    fn progressed(&self, _: ProcessKey, seq: u64) {
        assert!(seq > 1);
        self.say(format!("progressed {seq}"));
    }

    fn exited(&self, _: ProcessKey, exit: &Exit) {
        self.say(format!(
            "exited {} {:?} {:?}",
            exit.seq, exit.status, exit.stopped
        ));
    }

    fn closed(&self, _: ProcessKey, exit: &Exit, close: &Close, measured: &Measured<'_>) {
        assert!(exit.seq > 1 && exit.at_unix_ns <= close.at_unix_ns);
        assert!(measured.stages.iter().any(|stage| stage.stage == exec::PROCESS));
        self.say(format!(
            "closed {} {} {}",
            close.seq, close.output.stdout_bytes, close.output.stderr_bytes
        ));
    }
}

/// A gate that the test opens.
#[derive(Debug)]
struct ManualGate {
    answer: watch::Receiver<Option<Result<(), NotDurable>>>,
    known: bool,
}

impl Gate for ManualGate {
    fn may_have_run(&self, _: ProcessKey) -> Answer<'_, bool> {
        Box::pin(async { Ok(self.known) })
    }

    fn durable(&self) -> Answer<'_, ()> {
        let mut answer = self.answer.clone();
        Box::pin(async move {
            let answer = answer.wait_for(Option::is_some).await.map_err(|_| NotDurable)?;
            answer.unwrap_or(Err(NotDurable))
        })
    }
}

type Opener = watch::Sender<Option<Result<(), NotDurable>>>;

async fn host(known: bool, method: SpawnMethod) -> (Host, Arc<RecordingObserver>, Opener) {
    let told = Arc::new(RecordingObserver::default());
    let (opener, answer) = watch::channel(None);
    let records = Records {
        observer: Some(told.clone()),
        gate: Some(Arc::new(ManualGate { answer, known })),
    };
    let host = Host::with(support::service(method).records(records)).await;
    (host, told, opener)
}

async fn observed(method: SpawnMethod) -> (Host, Arc<RecordingObserver>) {
    let told = Arc::new(RecordingObserver::default());
    let records = Records {
        observer: Some(told.clone()),
        gate: None,
    };
    (Host::with(support::service(method).records(records)).await, told)
}

async fn all_that_a_client_has_seen_was_reported_before(method: SpawnMethod) {
    let (host, told) = observed(method).await;
    let start = Start {
        thread_id: "a thread".into(),
        metadata: vec![ThreadMetadata {
            key: "k".into(),
            value: "v".into(),
        }],
        turn: 2,
        step: "build".into(),
        ..start(&["sh", "-c", "echo out; echo error >&2; exit 3"])
    };
    let mut call = host.run(start).await.unwrap();
    while let Some(event) = call.events.message().await.unwrap() {
        let expected = match event.kind.unwrap() {
            EventKind::Started(_) => "started",
            EventKind::Output(_) => "started",
            EventKind::Exited(_) => "exited",
            EventKind::Closed(_) => "closed",
            other => panic!("{other:?} in a call that starts a process"),
        };
        assert!(told.has(expected), "{expected} in {:?}", told.all());
    }
    eventually("delivered is told", || told.has("delivered")).await;
    let mut all = told.all();
    all.retain(|told| told != "delivered");
    assert_eq!(
        all,
        [
            "accepted sh of 1 on \"a thread\" 2 \"build\"",
            "started",
            "exited 4 Some(Code(3)) None",
            "closed 5 4 6",
        ]
    );
}

async fn the_first_event_is_sent_before_its_delivery_is_reported(method: SpawnMethod) {
    let (host, told) = observed(method).await;
    let mut call = host.run(start(&["sleep", "1000"])).await.unwrap();
    call.pid().await;
    eventually("delivered is told while it runs", || told.has("delivered")).await;
    assert!(!told.has("exited"));
}

async fn a_start_that_runs_nothing_is_reported_as_refused(method: SpawnMethod) {
    let (host, told) = observed(method).await;
    let status = host.run(start(&["/no/such/program"])).await.err().unwrap();
    assert_eq!(kind(&status), Kind::CommandNotFound);
    let mut expected = vec![
        "accepted /no/such/program of 1 on \"\" 0 \"\"",
        "started",
        "refused CommandNotFound",
    ];
    // Where the spawn waits for the exec, it is known at once that nothing runs.
    expected.retain(|told| method == SpawnMethod::Clone || *told != "started");
    assert_eq!(told.all(), expected);
}

async fn the_reason_of_a_kill_is_reported(method: SpawnMethod) {
    let (host, told) = observed(method).await;
    let term = exited::Status::Signaled(Signaled {
        signal: 15,
        core_dumped: false,
    });
    let stopped = |end| format!("exited 2 {:?} {:?}", Some(term), Some(StopReason::Call(end)));
    let mut call = host.run(start(&["sleep", "1000"])).await.unwrap();
    call.pid().await;
    drop(call);
    host.idle().await;
    assert!(told.has(&stopped(CallEnd::Reset)), "{:?}", told.all());

    for end in CallEnd::ALL {
        let before = told.count(&stopped(end));
        let cell = CallEndCell::default();
        host.ends_by(cell.clone());
        let mut call = host.run(start(&["sleep", "1000"])).await.unwrap();
        call.pid().await;
        // As the channel does before it cuts the call.
        cell.set(end);
        drop(call);
        host.idle().await;
        assert_eq!(told.count(&stopped(end)), before + 1, "{:?}", told.all());
    }
    host.ends_by(CallEndCell::default());

    let before = told.count(&stopped(CallEnd::Violation));
    let mut call = host.run(start(&["sleep", "1000"])).await.unwrap();
    call.pid().await;
    call.requests.ack(99).await;
    host.idle().await;
    assert_eq!(
        told.count(&stopped(CallEnd::Violation)),
        before + 1,
        "{:?}",
        told.all()
    );

    let mut call = host.run(start(&["sleep", "1000"])).await.unwrap();
    call.pid().await;
    let before = told.count(&stopped(CallEnd::ShutDown));
    host.service.shutdown().await;
    assert_eq!(
        told.count(&stopped(CallEnd::ShutDown)),
        before + 1,
        "{:?}",
        told.all()
    );
}

async fn the_progress_of_a_process_that_prints_is_reported(method: SpawnMethod) {
    let (host, told) = observed(method).await;
    let ran = host.sh("echo a; sleep 1.1; echo b; echo c").await;
    assert_eq!(ran.text(), "a\nb\nc\n");
    let all = told.all();
    let progress: Vec<_> = all.iter().filter(|told| told.starts_with("progressed")).collect();
    assert_eq!(progress, ["progressed 2"], "once a second: {all:?}");
}

async fn the_last_output_is_reported_though_no_more_follows(method: SpawnMethod) {
    let (host, told) = observed(method).await;
    let script = "for i in 1 2 3; do echo $i; sleep 0.05; done; exec sleep 1000";
    let mut call = host.run(start(&["sh", "-c", script])).await.unwrap();
    let (mut printed, mut seq) = (0, 0);
    while printed < 6 {
        seq += 1;
        if let Some(EventKind::Output(output)) = call.next().await.unwrap() {
            printed += output.data.len();
        }
    }
    eventually("it is told", || told.has(&format!("progressed {seq}"))).await;
    drop(call);
    host.idle().await;
}

async fn a_gate_holds_the_spawn_and_nothing_after_it(method: SpawnMethod) {
    let (host, told, opener) = host(false, method).await;
    host.traced(TraceContext::new_root(true));
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!("echo ran >{}; echo done", file.path().display());
    let running = host.run(start(&["sh", "-c", &script]));
    tokio::pin!(running);
    tokio::select! {
        biased;
        _ = &mut running => panic!("it did not wait"),
        () = eventually("accepted", || told.has("accepted")) => {}
    }
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(std::fs::read(file.path()).unwrap(), b"");
    opener.send(Some(Ok(()))).unwrap();
    let ran = running.await.unwrap().finish().await;
    // From here on the gate would hold anything that asked it.
    assert_eq!(ran.text(), "done\n");
    let stages = host.last_call().stages();
    let waited = stages
        .iter()
        .find(|stage| stage.stage == exec::START_DURABLE)
        .unwrap();
    let process = stages.iter().find(|stage| stage.stage == exec::PROCESS).unwrap();
    assert!(waited.duration_ns() > 50_000_000 && waited.end_ns <= process.start_ns);
}

async fn a_start_that_cannot_be_made_durable_is_refused_and_may_be_repeated(method: SpawnMethod) {
    let (host, told, opener) = host(false, method).await;
    opener.send(Some(Err(NotDurable))).unwrap();
    let start = start(&["echo", "ok"]);
    let status = host.run(start.clone()).await.err().unwrap();
    assert_eq!(kind(&status), Kind::NotDurable);
    assert_eq!(told.all().last().unwrap(), "refused NotDurable");
    assert!(!told.has("started"));
    opener.send(Some(Ok(()))).unwrap();
    assert_eq!(host.run(start).await.unwrap().finish().await.text(), "ok\n");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_does_not_answer_times_out() {
    let (host, told, _opener) = host(false, SpawnMethod::Auto).await;
    let status = host.run(start(&["true"])).await.err().unwrap();
    assert_eq!(kind(&status), Kind::NotDurable);
    assert!(!told.has("started"), "{:?}", told.all());
}

async fn an_id_that_an_earlier_epoch_accepted_is_lost_and_not_run_again(method: SpawnMethod) {
    let (host, told, opener) = host(true, method).await;
    opener.send(Some(Ok(()))).unwrap();
    let status = host.run(start(&["true"])).await.err().unwrap();
    assert_eq!(kind(&status), Kind::Lost);
    assert_eq!(told.all(), [""; 0], "its record is that of the earlier epoch");
}

async fn a_call_that_ends_while_its_start_waits_leaves_nothing_behind(method: SpawnMethod) {
    let (host, told, _opener) = host(false, method).await;
    {
        let running = host.run(start(&["true"]));
        tokio::pin!(running);
        tokio::select! {
            biased;
            _ = &mut running => panic!("it did not wait"),
            () = eventually("accepted", || told.has("accepted")) => {}
        }
    }
    eventually("it is told", || told.has("refused Abandoned")).await;
    host.idle().await;
    assert!(!told.has("started"));
}
