//! Runs from traces: each `call` span with its stages.

use std::collections::HashMap;

use baton_trace::attribute;
use baton_trace::outcome::OutcomeKind;
use baton_trace::stage::{StageId, transport};
use opentelemetry_semantic_conventions::attribute::{PROCESS_EXIT_CODE, SERVICE_INSTANCE_ID};

use super::{Run, Runs};
use crate::analysis::{Facts, Version};
use crate::history::HistoryCall;
use crate::model::{CallSpans, Span, Trace, Tree, Value};
use crate::stages::REMAINDER;

/// What a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockBy {
    /// A process of the client: `service.instance.id` of the `call`.
    Client,
    /// A process of the exec-server: `service.instance.id` of the `rpc`.
    Server,
    /// A file. Files of the same name are a pair.
    File,
    /// The value of an attribute.
    Attribute(String),
}

/// What of a trace becomes a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What a block is.
    pub block: BlockBy,
    /// The attribute that names the pair of a run.
    pub pair: Option<String>,
    /// Further attributes that runs keep.
    pub attributes: Vec<String>,
    /// Calls that the caller gave up are runs too.
    pub with_cancelled: bool,
    /// Calls of every version are runs, not only those of the newest one of each side.
    pub all_versions: bool,
}

/// Calls that are no runs, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunsLeftOut {
    /// Calls without the client's envelope, or commands of a history without stages.
    pub without_envelope: u64,
    /// Calls that the caller gave up.
    pub cancelled: u64,
    /// Calls of versions before the newest of their side.
    pub old_versions: u64,
}

impl RunsLeftOut {
    /// Each reason with its count, but for those that are 0.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = [
            ("without the client's envelope", self.without_envelope),
            ("that the caller gave up", self.cancelled),
            ("of an older version", self.old_versions),
        ];
        all.into_iter().filter(|(_, count)| *count > 0)
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            block: BlockBy::Client,
            pair: None,
            attributes: Vec::new(),
            with_cancelled: false,
            all_versions: false,
        }
    }
}

/// Collects the runs of traces.
#[derive(Debug, Default)]
pub struct RunCollector {
    options: RunOptions,
    runs: Runs,
    /// The side or set, and the file that is read.
    source: Source,
    left_out: RunsLeftOut,
    /// The side and the version of each run.
    versions: Vec<(String, Version)>,
}

#[derive(Debug, Default, Clone)]
struct Source {
    side: String,
    file: String,
    attributes: Vec<(String, String)>,
}

impl RunCollector {
    /// No runs.
    pub fn new(options: RunOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// The next traces are from `file` of `side`. Files of the same name on several sides are a pair. `attributes` are
    /// given to each run.
    pub fn begin(&mut self, side: &str, file: &str, attributes: &[(&str, &str)]) {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        self.source = Source {
            side: side.to_owned(),
            file: file.to_owned(),
            attributes: attributes.iter().map(owned).collect(),
        };
    }

    /// Adds the calls of a trace.
    pub fn add(&mut self, trace: &Trace) {
        for call in Tree::of(trace).calls(trace) {
            let head = call.head.map(|head| &trace.spans()[head]);
            match head.filter(|head| head.stage == Some(transport::CALL)) {
                Some(head) => self.add_call(trace, &call, head),
                None => self.left_out.without_envelope += 1,
            }
        }
    }

    /// Adds a command of a history. Its block is its thread, and it has only the stages of the exec-server. Commands
    /// without stages are left out, as calls without an envelope are.
    pub fn add_history(&mut self, call: &HistoryCall) {
        if call.stages.is_empty() {
            self.left_out.without_envelope += 1;
            return;
        }
        let block = match &self.options.block {
            BlockBy::Attribute(key) => call.attribute(key).unwrap_or_default(),
            _ => call.thread.clone(),
        };
        let kept = self
            .options
            .attributes
            .iter()
            .filter_map(|key| Some((key.clone(), call.attribute(key)?)));
        let run = Run {
            trace: call.id().to_string(),
            block,
            pair: self.options.pair.as_ref().and_then(|key| call.attribute(key)),
            started_ns: call.accepted_ns,
            turn: call.turn,
            succeeded: call.succeeded(),
            attributes: kept.collect(),
        };
        let durations = call
            .stages
            .iter()
            .map(|stage| (stage.stage.name(), stage.duration_ns));
        self.runs.add(run, durations);
        // A record does not say which version made it.
        self.versions.push((self.source.side.clone(), Version::parse("")));
    }

    /// The runs, and the calls that were left out.
    pub fn finish(self) -> (Runs, RunsLeftOut) {
        let Self {
            options,
            runs,
            mut left_out,
            versions,
            ..
        } = self;
        if options.all_versions {
            return (runs, left_out);
        }
        let mut newest: HashMap<&str, &Version> = HashMap::new();
        for (side, version) in &versions {
            let known = newest.entry(side).or_insert(version);
            *known = (*known).max(version);
        }
        let mut of_run = versions.iter();
        let kept = runs.filtered(|_| {
            let is_newest = of_run.next().is_none_or(|(side, version)| {
                newest.get(side.as_str()).is_none_or(|newest| version == *newest)
            });
            left_out.old_versions += u64::from(!is_newest);
            is_newest
        });
        (kept, left_out)
    }

    fn add_call(&mut self, trace: &Trace, call: &CallSpans, head: &Span) {
        let place = call.head.unwrap_or_default();
        let facts = Facts::of(trace, call, place);
        if !self.options.with_cancelled && facts.is_cancelled() {
            self.left_out.cancelled += 1;
            return;
        }
        let version = Version::parse(facts.version);
        let stages: Vec<&Span> = call.stages.iter().map(|index| &trace.spans()[*index]).collect();
        // The client's spans first: its resource is the more specific one.
        let find = |key: &str| {
            let spans = || std::iter::once(head).chain(stages.iter().copied());
            let of_span = spans().find_map(|span| shown(trace.attribute(span, key)?));
            of_span.or_else(|| spans().find_map(|span| shown(resource(trace, span, key)?)))
        };
        let part = |stage: StageId| stages.iter().copied().find(|span| span.stage == Some(stage));
        let instance = |span: &Span| trace.resource_text(span, SERVICE_INSTANCE_ID).map(str::to_owned);
        let Source {
            side,
            file,
            attributes,
        } = &self.source;
        let block = match &self.options.block {
            BlockBy::Client => instance(head),
            BlockBy::Server => part(transport::RPC).and_then(instance),
            BlockBy::File => Some(format!("{side}/{file}")),
            BlockBy::Attribute(key) => find(key),
        };
        let pair = match (&self.options.pair, &self.options.block) {
            (Some(key), _) => find(key),
            (None, BlockBy::File) => Some(file.clone()),
            (None, _) => None,
        };
        let kept = self
            .options
            .attributes
            .iter()
            .filter_map(|key| Some((key.clone(), find(key)?)));
        let run = Run {
            trace: trace.id().to_string(),
            // A run without the attribute shares a block with all others without it, which is the cautious choice.
            block: block.unwrap_or_default(),
            pair,
            started_ns: head.start_ns,
            turn: find(attribute::TURN).and_then(|turn| turn.parse().ok()),
            succeeded: succeeded(trace, head),
            attributes: kept.chain(attributes.iter().cloned()).collect(),
        };
        let mut durations: HashMap<&str, u64> = HashMap::new();
        for span in &stages {
            if let Some(name) = trace.stage_name(span) {
                *durations.entry(name).or_default() += span.duration_ns();
            }
        }
        let remainder = trace.integer(head, attribute::REMAINDER_NS);
        if let Some(remainder) = remainder.and_then(|ns| u64::try_from(ns).ok()) {
            durations.insert(REMAINDER, remainder);
        }
        let mut durations: Vec<(&str, u64)> = durations.into_iter().collect();
        durations.sort_unstable();
        self.runs.add(run, durations);
        self.versions.push((self.source.side.clone(), version));
    }
}

/// The command exited with 0. A call without a command succeeded if its span is no error.
fn succeeded(trace: &Trace, head: &Span) -> bool {
    match trace.text(head, attribute::OUTCOME) {
        Some(outcome) => {
            OutcomeKind::from_name(outcome) == Some(OutcomeKind::Exited)
                && trace
                    .integer(head, PROCESS_EXIT_CODE)
                    .is_none_or(|code| code == 0)
        }
        None => !head.is_error,
    }
}

fn resource<'a>(trace: &'a Trace, span: &Span, key: &str) -> Option<Value<'a>> {
    trace
        .resource(span)
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

fn shown(value: Value<'_>) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.to_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Double(_) | Value::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use baton_trace::stage::exec;

    use super::*;
    use crate::history::HistoryStage;
    use crate::test_traces::{call, other, stage, trace};

    #[test]
    fn cancelled_calls_and_those_of_older_versions_of_a_side_are_no_runs() {
        let of = |trace_id: u128, version: &str| {
            let mut spans = call();
            for span in &mut spans {
                span.trace = trace_id;
                span.version = version.to_owned();
            }
            spans
        };
        let mut cancelled = of(4, "2.0.0");
        cancelled[0] = cancelled[0].clone().with("rpc.response.status_code", "CANCELLED");
        let count = |options: RunOptions| {
            let mut collector = RunCollector::new(options);
            collector.begin("A", "", &[]);
            for spans in [of(1, "1.0.0"), of(2, "2.0.0"), cancelled.clone()] {
                collector.add(&trace(&spans));
            }
            // The other side is of the older version alone.
            collector.begin("B", "", &[]);
            collector.add(&trace(&of(3, "1.0.0")));
            let (runs, left_out) = collector.finish();
            (runs.len(), left_out.cancelled, left_out.old_versions)
        };
        assert_eq!(count(RunOptions::default()), (2, 1, 1));
        let all = RunOptions {
            with_cancelled: true,
            all_versions: true,
            ..RunOptions::default()
        };
        assert_eq!(count(all), (4, 0, 0));
    }

    fn collected(options: RunOptions, spans: &[crate::test_traces::Made]) -> (Runs, RunsLeftOut) {
        let mut collector = RunCollector::new(options);
        collector.begin("A", "1.json", &[("side", "old")]);
        collector.add(&trace(spans));
        collector.finish()
    }

    #[test]
    fn a_call_is_a_run_with_the_durations_of_its_stages() {
        let (runs, left_out) = collected(RunOptions::default(), &call());
        assert_eq!((runs.len(), left_out.without_envelope), (1, 0));
        for (stage, ns) in [
            ("call", 1_000_000),
            ("transit", 99_000),
            ("relay.queue", 9_000),
            ("process.wait", 499_000),
            ("remainder", 10_000),
        ] {
            assert_eq!(runs.duration(0, stage), Some(ns), "{stage}");
        }
        assert_eq!(runs.duration(0, "process.stderr"), None);
        let run = runs.run(0);
        assert_eq!(
            (run.block.as_str(), &run.pair, run.succeeded),
            ("client-1", &None, true)
        );
        assert_eq!(run.attributes["side"], "old");
        assert_eq!(run.trace, format!("{:032x}", 1));
    }

    #[test]
    fn a_command_of_a_history_is_a_run_without_the_stages_of_the_client() {
        let mut collector = RunCollector::new(RunOptions {
            attributes: vec!["baton.step".to_owned()],
            ..RunOptions::default()
        });
        let stage = |stage, duration_ns| HistoryStage {
            stage,
            start_ns: 0,
            duration_ns,
        };
        let command = HistoryCall {
            process: [7; 16],
            thread: "t".to_owned(),
            step: "s".to_owned(),
            turn: Some(2),
            outcome: Some(baton_trace::outcome::Outcome::Exited { code: 0 }),
            stages: vec![stage(exec::PROCESS, 9), stage(exec::PROCESS_SPAWN, 4)],
            ..HistoryCall::default()
        };
        collector.add_history(&command);
        collector.add_history(&HistoryCall::default());
        let (runs, left_out) = collector.finish();
        assert_eq!((runs.len(), left_out.without_envelope), (1, 1));
        let run = runs.run(0);
        assert_eq!(
            (run.block.as_str(), run.turn, run.succeeded),
            ("t", Some(2), true)
        );
        assert_eq!(run.attributes["baton.step"], "s");
        assert_eq!(runs.duration(0, "process.spawn"), Some(4));
        assert!(!runs.has_stage("call") && !runs.has_stage("transit"));
    }

    #[test]
    fn a_block_is_what_was_asked_for() {
        let block = |block, pair: Option<&str>| {
            let pair = pair.map(str::to_owned);
            let options = RunOptions {
                block,
                pair,
                attributes: vec!["host.id".to_owned(), "absent".to_owned()],
                ..RunOptions::default()
            };
            collected(options, &call()).0.run(0).clone()
        };
        assert_eq!(block(BlockBy::Server, None).block, "server-1");
        let file = block(BlockBy::File, None);
        assert_eq!(
            (file.block.as_str(), file.pair.as_deref()),
            ("A/1.json", Some("1.json"))
        );
        let by_attribute = block(BlockBy::Attribute("host.id".to_owned()), Some("baton.outcome"));
        // The client's resource comes before the server's.
        assert_eq!(
            (by_attribute.block.as_str(), by_attribute.pair.as_deref()),
            ("host-a", Some("exited"))
        );
        assert_eq!(by_attribute.attributes["host.id"], "host-a");
        assert!(!by_attribute.attributes.contains_key("absent"));
    }

    #[test]
    fn failed_commands_turns_and_attempts_are_told() {
        let mut spans = call();
        spans[0] = spans[0]
            .clone()
            .with("process.exit.code", 3)
            .with("baton.turn", 2);
        spans.push(stage(22, 1, "transit", 500, 600).with("baton.attempt", 1));
        let (runs, _) = collected(RunOptions::default(), &spans);
        assert_eq!((runs.run(0).succeeded, runs.run(0).turn), (false, Some(2)));
        assert_eq!(runs.duration(0, "transit"), Some(199_000), "two attempts");
    }

    #[test]
    fn a_server_half_without_its_envelope_is_counted_and_left_out() {
        let rest: Vec<_> = call().into_iter().filter(|span| span.part == "server").collect();
        let (runs, left_out) = collected(RunOptions::default(), &rest);
        assert_eq!((runs.len(), left_out.without_envelope), (0, 1));
        let (runs, left_out) = collected(RunOptions::default(), &[other(1, 0, "tool", 0, 9)]);
        assert_eq!((runs.len(), left_out.without_envelope), (0, 0));
    }
}
