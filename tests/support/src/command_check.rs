//! The claims that hold of every command, whatever happened to its connections.
//!
//! A test collects what it [observed](Observed) of one command and compares it with what the command [does](Expected).
//! [`check`] returns every claim that does not hold. A test of each claim has an observation that only this claim
//! refuses.

use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

/// An event, as the command's caller received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The command has started.
    Started,
    /// Bytes of standard output.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// Events are missing here, and the caller was told so.
    Gap,
    /// The command has ended.
    Exited(Exit),
    /// No event follows.
    Closed {
        /// A descendant held the output.
        truncated: bool,
    },
}

/// A span of the command's trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanSeen {
    /// Its trace.
    pub trace: Vec<u8>,
    /// Its id.
    pub id: Vec<u8>,
    /// Its parent; empty for a root.
    pub parent: Vec<u8>,
    /// Its name.
    pub name: String,
    /// Start and end, in nanoseconds since the Unix epoch.
    pub times: (u64, u64),
}

/// What was observed of one command.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// All events, in order.
    pub events: Vec<Seen>,
    /// The `TRACEPARENT` of each process that ran for it: one entry a start.
    pub starts: Vec<String>,
    /// The processes of the command that are left.
    pub alive: Vec<i32>,
    /// All spans of its trace, as their components have exported them.
    pub spans: Vec<SpanSeen>,
    /// The spans in its client's trace file that another component exports, or that the client has exported too.
    pub in_file: Vec<SpanSeen>,
    /// The context of the caller: the ids of the trace and of the span that the command's spans descend from.
    pub caller: (Vec<u8>, Vec<u8>),
}

/// What the command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// How it ends.
    pub exit: Exit,
    /// A descendant holds the output, so that `Closed` says so.
    pub truncated: bool,
    /// Output may be missing where a gap says so.
    pub may_have_gaps: bool,
    /// The descendants that it leaves on purpose.
    pub leaves: usize,
    /// The calls that its caller makes: one that runs it, and those that send it signals.
    pub calls: usize,
}

/// A statement about every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Each id runs once.
    RunsOnce,
    /// The bytes are those that the command wrote, or a gap is stated.
    BytesAreWhole,
    /// One `Exited`, with the command's exit.
    OneExit,
    /// One `Closed`, and it is the last event; `Started` is the first.
    ClosedIsLast,
    /// No process is left that should not be.
    NothingRunsOn,
    /// Every span ends after it begins, each has a parent, and the process is exported once.
    SpansAreClosed,
    /// A span in the trace file of the client is the exported one: it has the same id, name and parent.
    FileIsExported,
    /// Caller, spans and process are in one trace.
    OneTrace,
}

/// A claim that does not hold, and why.
pub type Violation = (Claim, String);

/// All violations.
pub fn check(observed: &Observed, expected: &Expected) -> Vec<Violation> {
    type Check = fn(&Observed, &Expected) -> Vec<String>;
    let checks: [(Claim, Check); 8] = [
        (Claim::RunsOnce, runs_once),
        (Claim::BytesAreWhole, bytes_are_whole),
        (Claim::OneExit, one_exit),
        (Claim::ClosedIsLast, closed_is_last),
        (Claim::NothingRunsOn, nothing_runs_on),
        (Claim::SpansAreClosed, spans_are_closed),
        (Claim::FileIsExported, file_is_exported),
        (Claim::OneTrace, one_trace),
    ];
    let mut violations = Vec::new();
    for (claim, check) in checks {
        violations.extend(check(observed, expected).into_iter().map(|why| (claim, why)));
    }
    violations
}

impl SpanSeen {
    /// The spans of a trace file.
    pub fn of(request: &ExportTraceServiceRequest) -> Vec<Self> {
        let scopes = request.resource_spans.iter().flat_map(|of| &of.scope_spans);
        let spans = scopes.flat_map(|scope| &scope.spans);
        spans
            .map(|span| Self {
                trace: span.trace_id.clone(),
                id: span.span_id.clone(),
                parent: span.parent_span_id.clone(),
                name: span.name.clone(),
                times: (span.start_time_unix_nano, span.end_time_unix_nano),
            })
            .collect()
    }
}

fn runs_once(observed: &Observed, _: &Expected) -> Vec<String> {
    match observed.starts.len() {
        1 => Vec::new(),
        starts => vec![format!("it ran {starts} times")],
    }
}

/// The pieces of one output between the stated gaps.
fn pieces(events: &[Seen], of: fn(&Seen) -> Option<&[u8]>) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    for event in events {
        match (event, of(event)) {
            (Seen::Gap, _) => pieces.push(Vec::new()),
            (_, Some(bytes)) => pieces.last_mut().expect("it has one").extend_from_slice(bytes),
            _ => {}
        }
    }
    pieces
}

fn bytes_are_whole(observed: &Observed, expected: &Expected) -> Vec<String> {
    let stdout: fn(&Seen) -> Option<&[u8]> = |event| match event {
        Seen::Stdout(bytes) => Some(bytes),
        _ => None,
    };
    let stderr: fn(&Seen) -> Option<&[u8]> = |event| match event {
        Seen::Stderr(bytes) => Some(bytes),
        _ => None,
    };
    let mut details = Vec::new();
    if observed.events.contains(&Seen::Gap) && !expected.may_have_gaps {
        details.push("there is a gap".into());
    }
    for (name, of, all) in [
        ("stdout", stdout, &expected.stdout),
        ("stderr", stderr, &expected.stderr),
    ] {
        let pieces = pieces(&observed.events, of);
        // Each piece follows the one before, the first is a prefix, and the last one a suffix.
        let mut from = 0;
        for (index, piece) in pieces.iter().enumerate() {
            let is_last = index + 1 == pieces.len();
            let begin = match (index, is_last) {
                (0, _) => Some(0),
                (_, true) => all.len().checked_sub(piece.len()),
                (_, false) => find(&all[from..], piece).map(|at| from + at),
            };
            let found = begin.filter(|begin| *begin >= from && all[*begin..].starts_with(piece));
            match found {
                Some(begin) => from = begin + piece.len(),
                None => {
                    let differs = all[from..].iter().zip(piece).position(|(a, b)| a != b);
                    details.push(format!(
                        "{name}: piece {index} of {} bytes is not what was written from byte {from} on: it differs {differs:?} bytes behind it",
                        piece.len()
                    ));
                    break;
                }
            }
            if is_last && index == 0 && from != all.len() {
                details.push(format!("{name}: {from} of {} bytes", all.len()));
            }
        }
    }
    details
}

fn find(all: &[u8], piece: &[u8]) -> Option<usize> {
    match piece.is_empty() {
        true => Some(0),
        false => all.windows(piece.len()).position(|window| window == piece),
    }
}

fn one_exit(observed: &Observed, expected: &Expected) -> Vec<String> {
    let exits: Vec<_> = observed
        .events
        .iter()
        .filter_map(|event| match event {
            Seen::Exited(exit) => Some(*exit),
            _ => None,
        })
        .collect();
    match exits[..] == [expected.exit] {
        true => Vec::new(),
        false => vec![format!("it ends with {exits:?}, not with {:?}", expected.exit)],
    }
}

fn closed_is_last(observed: &Observed, expected: &Expected) -> Vec<String> {
    let events = &observed.events;
    let places = |is: fn(&Seen) -> bool| -> Vec<usize> {
        (0..events.len()).filter(|&index| is(&events[index])).collect()
    };
    let mut details = Vec::new();
    let started = places(|event| *event == Seen::Started);
    if started != [0] {
        details.push(format!("Started is at {started:?} of {}", events.len()));
    }
    let closed = places(|event| matches!(event, Seen::Closed { .. }));
    if closed.len() != 1 || closed.last() != events.len().checked_sub(1).as_ref() {
        details.push(format!("Closed is at {closed:?} of {}", events.len()));
    }
    if let Some(Seen::Closed { truncated }) = events.last()
        && *truncated != expected.truncated
    {
        details.push(format!("Closed says truncated={truncated}"));
    }
    details
}

fn nothing_runs_on(observed: &Observed, expected: &Expected) -> Vec<String> {
    match observed.alive.len() == expected.leaves {
        true => Vec::new(),
        false => vec![format!("{:?} are left, not {}", observed.alive, expected.leaves)],
    }
}

fn spans_are_closed(observed: &Observed, expected: &Expected) -> Vec<String> {
    let mut details = Vec::new();
    let mut ids = HashSet::from([&observed.caller.1]);
    for span in &observed.spans {
        if !ids.insert(&span.id) {
            details.push(format!("{} has the id of another span", span.name));
        }
        if span.times.0 == 0 || span.times.1 < span.times.0 {
            details.push(format!("{} lasts from {:?}", span.name, span.times));
        }
    }
    for span in &observed.spans {
        if !ids.contains(&span.parent) {
            details.push(format!("the parent of {} is unknown", span.name));
        }
    }
    let times = |is: &dyn Fn(&SpanSeen) -> bool| observed.spans.iter().filter(|span| is(span)).count();
    // The envelope has the caller's name of the call.
    let (envelopes, processes) = (
        times(&|span| span.parent == observed.caller.1),
        times(&|span| span.name == "process"),
    );
    if (envelopes, processes) != (expected.calls, 1) {
        let spans: Vec<_> = observed
            .spans
            .iter()
            .map(|span| (&span.name, span.times))
            .collect();
        details.push(format!(
            "there are {envelopes} envelopes and {processes} spans process in {spans:?}"
        ));
    }
    details
}

fn file_is_exported(observed: &Observed, _: &Expected) -> Vec<String> {
    let key = |span: &SpanSeen| (span.trace.clone(), span.id.clone());
    let exported: HashMap<_, _> = observed.spans.iter().map(|span| (key(span), span)).collect();
    let mut details = Vec::new();
    for span in &observed.in_file {
        match exported.get(&key(span)) {
            None => details.push(format!("{} in the file was not exported", span.name)),
            Some(same) if (&same.name, &same.parent) != (&span.name, &span.parent) => details.push(format!(
                "{} in the file is {} in the export, or has another parent",
                span.name, same.name
            )),
            Some(_) => {}
        }
    }
    details
}

fn one_trace(observed: &Observed, _: &Expected) -> Vec<String> {
    let mut details = Vec::new();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let trace = hex(&observed.caller.0);
    for span in &observed.spans {
        if span.trace != observed.caller.0 {
            details.push(format!("{} is in another trace", span.name));
        }
    }
    for start in &observed.starts {
        let mut fields = start.split('-').skip(1);
        if fields.next() != Some(&trace) {
            details.push(format!("the process is in another trace: {start:?}"));
        }
        let parent = fields.next().unwrap_or_default();
        if !observed.spans.iter().any(|span| hex(&span.id) == parent) {
            details.push(format!("the parent of the process is unknown: {start:?}"));
        }
    }
    details
}

#[cfg(test)]
mod tests;
