//! Every kind of command under every kind of fault, with real processes and a fault proxy on both links of the relay.
//! One [checker](baton_support::command_check) states what holds of each.
//!
//! The byte at which a fault acts is random, from a fixed seed; `BATON_TEST_FULL=1` adds seeds and raises the amounts.

mod cases;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use baton_core_client::{Client, Command, Event, ExitStatus, Run, Signal, Stdin, WindowSize};
use baton_support::command_check::{Exit, Observed, Seen, SpanSeen, check};
use baton_support::fault_proxy::{Direction, Fault, Trigger};
use baton_support::scale::{is_full, scaled};
use baton_trace::stage::{span_id, transport};
use baton_trace::w3c::TraceContext;
use baton_trace::{SpanId, TraceId};
use bytes::Bytes;
use data_encoding::BASE64;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::cases::{Case, Input, cases, signals, write_binary};
use crate::support::{self, Mark, PATIENCE, Proxied, Running, spans};

/// Longer than any fault and the watchdogs that notice it.
const GRACE: Duration = Duration::from_secs(120);

/// How long output may follow the exit; a case waits for it.
const DRAIN: Duration = Duration::from_millis(200);

/// The first seed.
const SEED: u64 = 16;

/// Bytes at the beginning of a start, without its last ones.
const START_BYTES: u64 = 100;

/// Bytes that a call of a short command sends in one direction, roughly.
const SHORT_CALL: u64 = 400;

/// What happens to the connections of a command.
#[derive(Clone, Copy)]
enum Harm {
    None,
    /// At a random byte of one link.
    AtByte(Link, Fault),
    /// As [`AtByte`](Self::AtByte), in both directions in turn, silently.
    HalfOpen(Link, Direction),
    /// From before the session begins.
    SingleBytes,
    /// The client's link is cut in the message with the start.
    LosesStart,
}

#[derive(Clone, Copy)]
enum Link {
    Client,
    Server,
}

/// The files and processes of one run of a case.
struct Place {
    starts: PathBuf,
    binary: PathBuf,
    mark: Mark,
}

impl Place {
    fn new(proxied: &Proxied) -> Self {
        let binary = proxied.testbed.home.file("binary");
        if !binary.exists() {
            write_binary(&binary);
        }
        Self {
            starts: proxied
                .testbed
                .home
                .file(&format!("starts-{:032x}", rand::random::<u128>())),
            binary,
            mark: Mark::new(),
        }
    }

    fn variables(&self) -> [(&str, &str); 3] {
        let (name, value) = self.mark.variable().split_once('=').unwrap();
        [
            (name, value),
            ("STARTS", self.starts.to_str().unwrap()),
            ("BINARY", self.binary.to_str().unwrap()),
        ]
    }

    /// The script, which first tells that it has started, and in which trace.
    fn script(case: &Case) -> String {
        format!("echo \"$TRACEPARENT\" >>$STARTS; {}", case.script)
    }

    /// What it has left behind. A descendant that was killed may still have to be reaped.
    fn left(&self, case: &Case, observed: &mut Observed) {
        if case.expected.leaves == 0 {
            self.mark.await_gone();
        }
        observed.alive = self.mark.processes();
        let starts = fs::read_to_string(&self.starts).unwrap_or_default();
        observed.starts = starts.lines().map(str::to_owned).collect();
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn command(case: &Case, place: &Place, parent: &TraceContext) -> Command {
    let command = Command::new("sh").arg("-c").arg(Place::script(case));
    let command = place
        .variables()
        .into_iter()
        .fold(command, |command, (name, value)| command.env(name, value));
    let command = match case.has_terminal {
        true => command.terminal(WindowSize {
            columns: 90,
            rows: 30,
            width_pixels: 0,
            height_pixels: 0,
        }),
        false => command,
    };
    command
        .grace(GRACE)
        .drain(DRAIN)
        .trace(true)
        .parent(parent.clone())
}

async fn feed(input: Input, mut stdin: Stdin) -> Option<Stdin> {
    match input {
        Input::Dropped => None,
        Input::Open => Some(stdin),
        Input::Bytes(bytes) => {
            // Fails if the command has ended.
            let _ = stdin.write(bytes.into()).await;
            let _ = stdin.close().await;
            None
        }
        Input::Endless => {
            while stdin.write(Bytes::from_static(&[0; 32 * 1024])).await.is_ok() {}
            None
        }
    }
}

fn seen(event: Event) -> Seen {
    match event {
        Event::Started { .. } => Seen::Started,
        Event::Stdout(bytes) => Seen::Stdout(bytes.into()),
        Event::Stderr(bytes) => Seen::Stderr(bytes.into()),
        Event::Gap { .. } => Seen::Gap,
        Event::Exited { status, .. } => Seen::Exited(match status {
            ExitStatus::Code(code) => Exit::Code(code),
            ExitStatus::Signal { signal, .. } => Exit::Signal(signal),
        }),
        Event::Closed { truncated, .. } => Seen::Closed { truncated },
        Event::Repeated { .. } => panic!("a start that the caller has not repeated"),
    }
}

/// Runs a case with the library to its end.
async fn run_case(client: &Client, case: &Case, place: &Place) -> Observed {
    let parent = TraceContext::new_root(true);
    let mut observed = Observed {
        caller: (
            parent.trace_id.to_bytes().to_vec(),
            parent.span_id.to_bytes().to_vec(),
        ),
        ..Observed::default()
    };
    let (run, stdin) = client.start(command(case, place, &parent)).await.unwrap();
    // Aborted when the command has ended, because an input may stay open.
    let mut feeding = JoinSet::new();
    feeding.spawn(feed(case.input.clone(), stdin));
    let mut run: Run = run;
    let mut to_terminate = case.is_terminated;
    while let Some(event) = run
        .next()
        .await
        .unwrap_or_else(|error| panic!("{}: {error} after {:?}", case.name, observed.events))
    {
        if to_terminate && matches!(event, Event::Stdout(_)) {
            to_terminate = false;
            let signaller = run.signaller();
            feeding.spawn(async move {
                signaller.terminate(Signal::Term).await.unwrap();
                None
            });
        }
        observed.events.push(seen(event));
    }
    while let Some(fed) = feeding.try_join_next() {
        fed.unwrap();
    }
    let record = run.record().await.unwrap();
    (observed.spans, observed.in_file) = divided(baton_export::json::request(&[record]));
    observed
}

/// The spans of a trace file: those that the client would export, and those of the exec-server, which exports its own.
fn divided(mut file: ExportTraceServiceRequest) -> (Vec<SpanSeen>, Vec<SpanSeen>) {
    let of_server = |of: &mut ResourceSpans| {
        let mut attributes = of.resource.iter().flat_map(|resource| &resource.attributes);
        attributes.any(|attribute| {
            attribute.key == "service.name" && format!("{:?}", attribute.value).contains("exec-server")
        })
    };
    let checked = spans::findings(&file);
    assert!(checked.is_empty(), "{checked:#?}");
    let servers = ExportTraceServiceRequest {
        resource_spans: file.resource_spans.extract_if(.., of_server).collect(),
    };
    (SpanSeen::of(&file), SpanSeen::of(&servers))
}

/// Whether the exec-server has started the process in another call than the client's first: the first start was lost.
fn is_repeated_start(observed: &Observed) -> bool {
    let id = |bytes: &[u8]| SpanId::from_bytes(bytes.try_into().unwrap());
    let spans = || observed.spans.iter();
    let trace = TraceId::from_bytes(observed.caller.0[..].try_into().unwrap());
    let first = |envelope| span_id(trace, envelope, transport::RPC, 0);
    let process = spans().find(|span| span.name == "process").unwrap();
    let mut envelopes = spans().filter(|span| span.parent == observed.caller.1);
    envelopes.all(|envelope| first(id(&envelope.id)) != id(&process.parent))
}

/// Arms the harm. `case` says how many bytes there are to choose from.
fn harm(proxied: &Proxied, harm: Harm, case: &Case, rng: &mut StdRng) {
    let link = |link| match link {
        Link::Client => &proxied.client_link,
        Link::Server => &proxied.server_link,
    };
    match harm {
        Harm::None | Harm::SingleBytes => {}
        Harm::AtByte(which, fault) => {
            let output = if rng.random_bool(0.5) {
                case.output_bytes()
            } else {
                0
            };
            let at = rng.random_range(1..=SHORT_CALL + output);
            // Output goes up on the exec-server's link, which the exec-server has dialled.
            let carries_output = match which {
                Link::Client => Direction::Down,
                Link::Server => Direction::Up,
            };
            let direction = match output {
                0 if rng.random_bool(0.5) => carries_output.reverse(),
                _ => carries_output,
            };
            link(which).arm(Trigger::Bytes(direction, at), fault);
        }
        Harm::LosesStart => {
            let at = rng.random_range(1..=START_BYTES);
            proxied
                .client_link
                .arm(Trigger::Bytes(Direction::Up, at), Fault::Cut);
        }
        Harm::HalfOpen(which, direction) => {
            let at = rng.random_range(1..=SHORT_CALL);
            link(which).arm(Trigger::Bytes(direction, at), Fault::HalfOpen(direction));
        }
    }
}

/// Adds the exported spans of all observed traces, and checks everything. Returns how many starts were repeated.
fn conclude(mut proxied: Proxied, all: Vec<(Case, Observed)>) -> usize {
    // It exports what is left.
    proxied.testbed.stop_exec_server();
    let mut exported: HashMap<Vec<u8>, Vec<_>> = HashMap::new();
    for received in proxied.collector.spans() {
        exported
            .entry(received.span.trace_id.clone())
            .or_default()
            .push(received.span);
    }
    let (mut violations, mut repeated) = (Vec::new(), 0);
    for (case, mut observed) in all {
        let spans = exported.remove(&observed.caller.0).unwrap_or_default();
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        observed.spans.extend(SpanSeen::of(&request));
        for (claim, why) in check(&observed, &case.expected) {
            violations.push(format!("{}: {claim:?}: {why}", case.name));
        }
        repeated += usize::from(violations.is_empty() && is_repeated_start(&observed));
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    repeated
}

/// Runs all cases one after another, each with its own harm.
fn all_hold(what: &str, kind: Harm, all: &[Case]) {
    let proxied = Proxied::new();
    let runtime = runtime();
    let rounds = match kind {
        Harm::None => 1,
        _ => scaled("rounds", 1, 8),
    };
    let mut concluded = Vec::new();
    for seed in SEED..SEED + rounds {
        let mut rng = StdRng::seed_from_u64(seed);
        if let Harm::SingleBytes = kind {
            proxied.client_link.inject(Fault::OneByte);
            proxied.server_link.inject(Fault::OneByte);
        }
        let warm = proxied.testbed.client();
        for case in all {
            // Some sessions begin under the fault.
            let client = match rng.random_bool(0.2) {
                true => proxied.testbed.client(),
                false => warm.clone(),
            };
            let place = Place::new(&proxied);
            println!("seed {seed}: {}", case.name);
            let mut observed = runtime.block_on(async {
                timeout(PATIENCE, warm.connect()).await.unwrap().unwrap();
                harm(&proxied, kind, case, &mut rng);
                timeout(2 * PATIENCE, run_case(&client, case, &place))
                    .await
                    .unwrap()
            });
            proxied.client_link.disarm();
            proxied.server_link.disarm();
            place.left(case, &mut observed);
            concluded.push((case.clone(), observed));
        }
        runtime.block_on(warm.close());
    }
    let acted = proxied.client_link.acted() + proxied.server_link.acted();
    println!("{what}: {acted} faults in {} commands", concluded.len());
    if let Harm::AtByte(..) | Harm::LosesStart = kind {
        assert!(acted * 2 > concluded.len() as u64, "most faults have to act");
    }
    let repeated = conclude(proxied, concluded);
    println!("{what}: {repeated} starts were repeated");
    if let Harm::LosesStart = kind {
        assert!(repeated > 0, "no start was repeated");
    }
}

/// Bytes of the case of one line.
fn line_bytes() -> usize {
    scaled("bytes on one line", 2 << 20, 64 << 20) as usize
}

/// All cases, and some signals.
fn faulty_cases(line_bytes: usize) -> Vec<Case> {
    let every = if is_full() { 1 } else { 12 };
    cases(line_bytes)
        .into_iter()
        .chain(signals().into_iter().step_by(every))
        .collect()
}

#[test]
fn every_case_holds_without_a_fault() {
    let all: Vec<_> = cases(line_bytes()).into_iter().chain(signals()).collect();
    all_hold("without a fault", Harm::None, &all);
}

#[test]
fn every_case_holds_when_the_connection_of_the_client_is_cut() {
    let harm = Harm::AtByte(Link::Client, Fault::Cut);
    all_hold("client cut", harm, &faulty_cases(line_bytes()));
}

#[test]
fn every_case_holds_when_the_connection_of_the_exec_server_is_cut() {
    let harm = Harm::AtByte(Link::Server, Fault::Cut);
    all_hold("exec-server cut", harm, &faulty_cases(line_bytes()));
}

#[test]
fn every_case_holds_when_the_start_is_lost_and_repeated() {
    let short: Vec<_> = faulty_cases(10_000)
        .into_iter()
        .filter(|case| case.output_bytes() < 100)
        .collect();
    all_hold("start lost", Harm::LosesStart, &short);
}

#[test]
fn every_case_holds_when_a_connection_is_closed() {
    let harm = Harm::AtByte(Link::Client, Fault::Close);
    all_hold("client closed", harm, &faulty_cases(100_000));
}

#[test]
fn every_case_holds_when_a_link_stalls() {
    let stall = Fault::Stall(Duration::from_millis(300));
    let harm = Harm::AtByte(Link::Server, stall);
    all_hold("exec-server stalls", harm, &faulty_cases(100_000));
}

#[test]
fn every_case_holds_one_byte_at_a_time() {
    all_hold("single bytes", Harm::SingleBytes, &faulty_cases(10_000));
}

/// Runs some cases at once, because only a watchdog notices the fault, after 14 s.
fn hold_half_open(link: Link, direction: Direction) {
    let proxied = Proxied::new();
    let runtime = runtime();
    let mut rng = StdRng::seed_from_u64(SEED);
    let all = cases(1 << 20);
    let client = proxied.testbed.client();
    let observed = runtime.block_on(async {
        timeout(PATIENCE, client.connect()).await.unwrap().unwrap();
        harm(&proxied, Harm::HalfOpen(link, direction), &all[0], &mut rng);
        let mut running = JoinSet::new();
        for case in all {
            let (client, place) = (client.clone(), Place::new(&proxied));
            running.spawn(async move {
                let observed = timeout(2 * PATIENCE, run_case(&client, &case, &place)).await;
                (case, place, observed.unwrap())
            });
        }
        running.join_all().await
    });
    let left = |(case, place, mut observed): (Case, Place, Observed)| {
        place.left(&case, &mut observed);
        (case, observed)
    };
    let observed: Vec<_> = observed.into_iter().map(left).collect();
    assert_eq!(proxied.client_link.acted() + proxied.server_link.acted(), 1);
    conclude(proxied, observed);
}

/// The events that `baton exec --json` has printed.
fn printed(lines: &str) -> Vec<Seen> {
    let parsed = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed
        .map(|line| match line["event"].as_str().unwrap() {
            "started" => Seen::Started,
            "output" => {
                let bytes = match line["data"].as_str() {
                    Some(text) => text.as_bytes().to_vec(),
                    None => BASE64
                        .decode(line["data_base64"].as_str().unwrap().as_bytes())
                        .unwrap(),
                };
                match line["stream"].as_str().unwrap() {
                    "stdout" => Seen::Stdout(bytes),
                    _ => Seen::Stderr(bytes),
                }
            }
            "gap" => Seen::Gap,
            "exited" => Seen::Exited(match line["code"].as_i64() {
                Some(code) => Exit::Code(code.try_into().unwrap()),
                None => Exit::Signal(0),
            }),
            "closed" => Seen::Closed {
                truncated: line["truncated"].as_bool().unwrap(),
            },
            other => panic!("{other}: {line}"),
        })
        .collect()
}

#[test]
fn the_command_line_passes_the_cases_when_either_connection_is_cut() {
    let proxied = Proxied::new();
    let mut rng = StdRng::seed_from_u64(SEED);
    let is_plain = |case: &Case| {
        let has_code = matches!(case.expected.exit, Exit::Code(_));
        has_code && !case.has_terminal && matches!(case.input, Input::Dropped | Input::Bytes(_))
    };
    let mut concluded = Vec::new();
    for (number, case) in cases(1 << 20).into_iter().filter(is_plain).enumerate() {
        let (place, parent) = (Place::new(&proxied), TraceContext::new_root(true));
        let mut options = vec!["--json".to_owned(), "--grace".into(), "2m".into()];
        options.extend([
            "--drain".to_owned(),
            humantime::format_duration(DRAIN).to_string(),
        ]);
        let file = proxied.testbed.home.file(&format!("trace-{number}.json"));
        options.extend(["--trace-json".to_owned(), file.to_str().unwrap().to_owned()]);
        for (name, value) in place.variables() {
            options.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        let script = Place::script(&case);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let mut exec = proxied.testbed.exec_with(&options, ["sh", "-c", &script]);
        exec.env(
            "TRACEPARENT",
            format!("00-{}-{}-01", parent.trace_id, parent.span_id),
        );
        let link = [Link::Client, Link::Server][number % 2];
        harm(&proxied, Harm::AtByte(link, Fault::Cut), &case, &mut rng);
        let input = match &case.input {
            Input::Bytes(bytes) => bytes.clone(),
            _ => Vec::new(),
        };
        let finished = Running::start(exec, support::Input::Bytes(input)).finish();
        proxied.client_link.disarm();
        proxied.server_link.disarm();
        let mut observed = Observed {
            events: printed(finished.text()),
            caller: (
                parent.trace_id.to_bytes().to_vec(),
                parent.span_id.to_bytes().to_vec(),
            ),
            ..Observed::default()
        };
        assert_eq!(Exit::Code(finished.code), case.expected.exit, "{finished:?}");
        // The client has exported its own spans too.
        let file = fs::read(&file).unwrap();
        observed.in_file = SpanSeen::of(&serde_json::from_slice(&file).unwrap());
        assert!(!observed.in_file.is_empty());
        place.left(&case, &mut observed);
        concluded.push((case, observed));
    }
    let acted = proxied.client_link.acted() + proxied.server_link.acted();
    println!("{acted} faults in {} commands", concluded.len());
    assert!(acted * 2 > concluded.len() as u64, "most faults have to act");
    conclude(proxied, concluded);
}

#[test]
fn every_case_holds_when_the_client_is_not_heard() {
    hold_half_open(Link::Client, Direction::Up);
}

#[test]
fn every_case_holds_when_the_client_hears_nothing() {
    if is_full() {
        hold_half_open(Link::Client, Direction::Down);
    }
}

#[test]
fn every_case_holds_when_the_exec_server_is_not_heard() {
    if is_full() {
        hold_half_open(Link::Server, Direction::Up);
    }
}

#[test]
fn every_case_holds_when_the_exec_server_hears_nothing() {
    hold_half_open(Link::Server, Direction::Down);
}
