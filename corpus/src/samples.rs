//! Made-up traces of commands, with all that differs between real ones: ids, times, process ids, exit codes, labels.
//! For the dictionary, tests and benchmarks. A seed gives the same traces on every machine.

use std::num::NonZeroU64;
use std::time::Instant;

use baton_proto::ProcessId;
use baton_trace::clock::ClockOffset;
use baton_trace::command::{CallerIds, TracedCommand};
use baton_trace::outcome::Outcome;
use baton_trace::record::{Anchor, CallRecord, Side, StageRecord};
use baton_trace::stage::{StageId, exec, transport};
use baton_trace::status::RpcStatus;
use baton_trace::w3c::{Baggage, TraceContext, Tracestate};
use baton_trace::{SpanId, TraceFlags, TraceId};

use crate::part::{TracePart, Value};
use crate::record;

/// Names in made-up traces.
pub struct Names {
    /// Programs.
    pub programs: &'static [&'static str],
    /// Labels of commands.
    pub labels: &'static [&'static str],
    /// The caller's threads.
    pub threads: &'static [&'static str],
    /// Machines.
    pub hosts: &'static [&'static str],
}

/// Makes one trace after the other.
pub struct Samples {
    names: Names,
    /// The state of a generator of random numbers (G. Steele, D. Lea and C. Flood, "Fast splittable pseudorandom number
    /// generators", 2014).
    state: u64,
    unix_ns: u64,
}

impl Samples {
    /// Traces that a seed decides.
    pub fn new(names: Names, seed: u64) -> Self {
        Self {
            names,
            state: seed,
            unix_ns: 1_700_000_000_000_000_000,
        }
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn long(&mut self) -> u128 {
        u128::from(self.random()) << 64 | u128::from(self.random())
    }

    /// From `least` nanoseconds to a thousand times as many; every order of magnitude is equally likely.
    fn duration(&mut self, least: i64) -> i64 {
        let magnitude = (self.random() % 10_000) as f64 / 10_000.0;
        (least as f64 * 1_000_f64.powf(magnitude)) as i64
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[(self.random() % of.len() as u64) as usize]
    }

    /// The record of one command: a call of 24 spans.
    pub fn record(&mut self) -> CallRecord {
        self.unix_ns += 1_000_000 + self.random() % 20_000_000_000;
        let stages = self.stages();
        let mut context = TraceContext {
            trace_id: TraceId::from(self.long()),
            span_id: SpanId::from(self.random()),
            flags: TraceFlags::new(0b11),
            tracestate: Tracestate::default(),
            baggage: Baggage::default(),
        };
        let is_child = self.random().is_multiple_of(2);
        if self.random().is_multiple_of(8) {
            context.tracestate = Tracestate::parse("ot=th:c").unwrap_or_default();
        }
        let program = self.one(self.names.programs);
        let label = self
            .random()
            .is_multiple_of(2)
            .then(|| self.one(self.names.labels));
        let thread = self.one(self.names.threads);
        let ids = match self.random() % 3 {
            0 => CallerIds {
                thread: None,
                turn: None,
                step: None,
            },
            _ => CallerIds {
                thread: Some(thread),
                turn: NonZeroU64::new(1 + self.random() % 30),
                step: Some("build"),
            },
        };
        let process = ProcessId(self.long().to_be_bytes());
        let command = TracedCommand::new(label.map(str::to_owned), program.as_bytes(), process, ids);
        command.started(2 + (self.random() % 4_000_000) as u32);
        let code = match self.random() % 10 {
            0 => 1,
            1 => (self.random() % 128) as i32,
            _ => 0,
        };
        command.ended(Outcome::Exited { code });
        CallRecord {
            side: Side::Client,
            context,
            parent: is_child.then(|| SpanId::from(self.random())),
            links: Vec::new(),
            method: "baton.exec.v1.Exec/Run".into(),
            anchor: Anchor {
                instant: Instant::now(),
                unix_ns: self.unix_ns,
            },
            stages,
            status: RpcStatus(0),
            clock: Some(ClockOffset {
                offset_ns: self.duration(1_000) - 50_000,
                error_ns: self.duration(1_000).unsigned_abs(),
            }),
            server_unix_ns: None,
            server_calls: Vec::new(),
            attributes: Vec::new(),
            command: Some(Box::new(command.summary())),
        }
    }

    fn stages(&mut self) -> Vec<StageRecord> {
        use exec::*;
        use transport::*;
        let mut stages = Vec::new();
        let mut add = |stage: StageId, start_ns: i64, end_ns: i64, estimated: bool| {
            stages.push(StageRecord {
                stage,
                attempt: 0,
                start_ns,
                end_ns,
                estimated,
            });
        };
        let mut at = 0;
        for (stage, least) in [(DISPATCH, 9_000), (CLIENT_QUEUE, 500), (CLIENT_SEAL, 900)] {
            let start = at;
            at += self.duration(least);
            add(stage, start, at, false);
        }
        let transit = |this: &mut Self,
                       at: &mut i64,
                       add: &mut dyn FnMut(StageId, i64, i64, bool),
                       ids: [StageId; 3]| {
            let (queue, forward) = (this.duration(700), this.duration(900));
            let rest = this.duration(20_000);
            let start = *at;
            *at += queue + forward + rest;
            add(ids[0], start, *at, false);
            let middle = start + rest / 2;
            add(ids[1], middle, middle + queue, true);
            add(ids[2], middle + queue, middle + queue + forward, true);
        };
        transit(self, &mut at, &mut add, [TRANSIT, RELAY_QUEUE, RELAY_FORWARD]);
        for (stage, least) in [(SERVER_OPEN, 3_000), (SERVER_QUEUE, 2_000)] {
            let start = at;
            at += self.duration(least);
            add(stage, start, at, false);
        }
        let rpc = at;
        let process = rpc + self.duration(500);
        let spawned = process + self.duration(90_000);
        let first = spawned + self.duration(100_000);
        let last = first + self.duration(50_000);
        let exited = last + self.duration(10_000);
        let closed = exited + self.duration(1_000);
        add(PROCESS, process, closed, false);
        add(PROCESS_SPAWN, process, spawned, false);
        add(PROCESS_FIRST_OUTPUT, spawned, first, false);
        add(PROCESS_STDOUT, first, last, false);
        let stderr = first + self.duration(100).min(last - first);
        add(PROCESS_STDERR, first, stderr, false);
        add(PROCESS_WAIT, spawned, exited, false);
        add(PROCESS_CLOSE, exited, closed, false);
        at = closed + self.duration(300);
        for (stage, least) in [(TERMINAL_QUEUE, 2_000), (TERMINAL_SEAL, 900)] {
            let start = at;
            at += self.duration(least);
            add(stage, start, at, false);
        }
        add(RPC, rpc, at, false);
        let ids = [TERMINAL_TRANSIT, TERMINAL_RELAY_QUEUE, TERMINAL_RELAY_FORWARD];
        transit(self, &mut at, &mut add, ids);
        for (stage, least) in [(TERMINAL_OPEN, 3_000), (TERMINAL_NOTIFY, 2_000)] {
            let start = at;
            at += self.duration(least);
            add(stage, start, at, false);
        }
        add(CALL, 0, at + self.duration(100), false);
        stages
    }

    /// The part that another process on another machine would have recorded: with its own instance and process id.
    pub fn part(&mut self, record: &CallRecord) -> TracePart<'static> {
        let mut part = record::part(record);
        let uuid = |id: u128| {
            let hex = format!("{id:032x}");
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        };
        let instance = uuid(self.long());
        let (host, host_id) = {
            let host = self.one(self.names.hosts);
            let bytes = host.bytes().chain([0; 16]);
            let id = bytes.take(16).fold(0_u128, |id, byte| {
                (id << 8 | u128::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            });
            (host, format!("{id:032x}"))
        };
        let pid = 2 + (self.random() % 4_000_000) as i64;
        for group in &mut part.groups {
            for (key, value) in &mut group.resource {
                *value = match (&**key, &*value) {
                    ("host.name", _) => Value::Text(host.into()),
                    ("host.id", _) => Value::Text(host_id.clone().into()),
                    ("process.pid", _) => Value::Int(pid),
                    ("service.instance.id" | "baton.reported_by", Value::Text(text)) => {
                        let prefix = text.len().saturating_sub(36);
                        Value::Text(format!("{}{instance}", &text[..prefix]).into())
                    }
                    (_, value) => value.clone(),
                };
            }
        }
        part
    }
}
