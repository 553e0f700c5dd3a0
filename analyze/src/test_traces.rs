//! Traces that tests make by hand, as OTLP/JSON.

use serde_json::{Value as Json, json};

use crate::model::Trace;
use crate::read::{ReadSummary, Reader};

/// A span by hand. Times are in microseconds after [`EPOCH_US`].
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub trace: u128,
    pub id: u64,
    pub parent: u64,
    pub name: String,
    pub start_ns: u64,
    pub end_ns: u64,
    pub kind: u8,
    pub flags: u32,
    pub trace_state: String,
    pub attributes: Vec<(String, Json)>,
    /// `client`, `server`, `relay` (reported by the client), `reported` (a server's, reported by the client) or any
    /// other service.
    pub part: String,
    pub version: String,
}

/// The moment 0 of a trace made by hand.
pub(crate) const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

/// A stage of trace 1, from `start` to `end` in microseconds. Its part follows from its name.
pub(crate) fn stage(id: u64, parent: u64, name: &str, start: u64, end: u64) -> Made {
    let part = match name {
        name if name.contains("relay.") => "relay",
        "call" | "dispatch" | "transit" | "recover" => "client",
        name if name.starts_with("client.") || name.starts_with("connect.") => "client",
        "terminal.transit" | "terminal.open" | "terminal.notify" => "client",
        _ => "server",
    };
    let kind = match name {
        "call" => 3,
        "rpc" => 2,
        _ => 1,
    };
    Made {
        kind,
        ..other(id, parent, name, start, end)
    }
    .with("baton.stage", name)
    .of(part)
}

/// A span that is no stage.
pub(crate) fn other(id: u64, parent: u64, name: &str, start: u64, end: u64) -> Made {
    Made {
        trace: 1,
        id,
        parent,
        name: name.to_owned(),
        start_ns: EPOCH_NS + start * 1_000,
        end_ns: EPOCH_NS + end * 1_000,
        kind: 1,
        flags: 1,
        trace_state: String::new(),
        attributes: Vec::new(),
        part: "tool".to_owned(),
        version: "1.0.0".to_owned(),
    }
}

impl Made {
    pub(crate) fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.attributes.push((key.to_owned(), value.into()));
        self
    }

    pub(crate) fn of(mut self, part: &str) -> Self {
        self.part = part.to_owned();
        self
    }

    pub(crate) fn in_trace(mut self, trace: u128) -> Self {
        self.trace = trace;
        self
    }

    fn json(&self) -> Json {
        json!({
            "traceId": format!("{:032x}", self.trace),
            "spanId": format!("{:016x}", self.id),
            "parentSpanId": if self.parent == 0 { String::new() } else { format!("{:016x}", self.parent) },
            "traceState": self.trace_state,
            "flags": self.flags,
            "name": self.name,
            "kind": self.kind,
            "startTimeUnixNano": self.start_ns.to_string(),
            "endTimeUnixNano": self.end_ns.to_string(),
            "attributes": attributes(&self.attributes),
            "droppedAttributesCount": 0,
            "status": {},
        })
    }

    fn resource(&self) -> Vec<(String, Json)> {
        let service = match self.part.as_str() {
            "client" => "baton-client",
            "relay" => "baton-relay",
            "server" | "reported" => "baton-exec-server",
            other => other,
        };
        let host = match self.part.as_str() {
            "server" => "host-b",
            _ => "host-a",
        };
        let mut all = vec![
            ("service.name".to_owned(), Json::from(service)),
            (
                "service.instance.id".to_owned(),
                Json::from(format!("{}-1", self.part)),
            ),
            ("host.id".to_owned(), Json::from(host)),
        ];
        match self.part.as_str() {
            "relay" | "reported" => all.push(("baton.reported_by".to_owned(), "client-1".into())),
            _ => all.push(("service.version".to_owned(), self.version.as_str().into())),
        }
        all
    }
}

type Pairs = Vec<(String, Json)>;

fn attributes(pairs: &[(String, Json)]) -> Json {
    let one = |(key, value): &(String, Json)| {
        let value = match value {
            Json::String(text) => json!({ "stringValue": text }),
            Json::Bool(flag) => json!({ "boolValue": flag }),
            Json::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
            Json::Number(number) => json!({ "intValue": number.to_string() }),
            Json::Array(values) => {
                let values: Vec<_> = values
                    .iter()
                    .map(|value| json!({ "stringValue": value }))
                    .collect();
                json!({ "arrayValue": { "values": values } })
            }
            _ => json!({}),
        };
        json!({ "key": key, "value": value })
    };
    pairs.iter().map(one).collect()
}

/// One line with these spans, grouped by resource.
pub(crate) fn line(spans: &[Made]) -> String {
    let mut groups: Vec<(Pairs, Vec<Json>)> = Vec::new();
    for span in spans {
        let resource = span.resource();
        match groups.iter_mut().find(|(known, _)| *known == resource) {
            Some((_, members)) => members.push(span.json()),
            None => groups.push((resource, vec![span.json()])),
        }
    }
    let group = |(resource, spans): &(Pairs, Vec<Json>)| {
        json!({
            "resource": { "attributes": attributes(resource) },
            "scopeSpans": [{ "scope": { "name": "baton" }, "spans": spans }],
        })
    };
    let groups: Vec<_> = groups.iter().map(group).collect();
    format!("{}\n", json!({ "resourceSpans": groups }))
}

/// Reads texts, each as one file.
pub(crate) fn read(texts: &[&str]) -> (Vec<Trace>, ReadSummary) {
    let mut traces = Vec::new();
    let mut deliver = |trace| traces.push(trace);
    let mut reader = Reader::new(&mut deliver);
    for (nth, text) in texts.iter().enumerate() {
        reader.input(&format!("file{nth}"), text.as_bytes()).unwrap();
    }
    let summary = reader.finish().unwrap();
    (traces, summary)
}

/// Reads spans as one trace.
pub(crate) fn trace(spans: &[Made]) -> Trace {
    let (mut traces, summary) = read(&[&line(spans)]);
    assert!(summary.is_whole() && traces.len() == 1, "{summary:?}");
    traces.remove(0)
}

/// A whole call of 1,000 µs, as a client and an exec-server export it: siblings 1 µs apart.
pub(crate) fn call() -> Vec<Made> {
    vec![
        stage(1, 0, "call", 0, 1_000)
            .with("baton.remainder_ns", 10_000)
            .with("baton.outcome", "exited")
            .with("baton.clock.offset_ns", 0)
            .with("baton.clock.error_ns", 20_000),
        stage(2, 1, "dispatch", 0, 49),
        stage(3, 1, "client.queue", 50, 59),
        stage(4, 1, "client.seal", 60, 69),
        stage(5, 1, "transit", 70, 169),
        stage(6, 5, "relay.queue", 100, 109),
        stage(7, 5, "relay.forward", 110, 119),
        stage(8, 1, "rpc", 170, 829),
        stage(9, 8, "server.open", 170, 179),
        stage(10, 8, "server.queue", 180, 189),
        stage(11, 8, "process", 190, 809),
        stage(12, 11, "process.spawn", 190, 289),
        stage(13, 11, "process.first_output", 290, 400),
        stage(14, 11, "process.stdout", 400, 700),
        stage(15, 11, "process.wait", 290, 789),
        stage(16, 11, "process.close", 790, 809),
        stage(17, 8, "terminal.queue", 810, 819),
        stage(18, 8, "terminal.seal", 820, 829),
        stage(19, 1, "terminal.transit", 830, 929),
        stage(20, 1, "terminal.open", 930, 949),
        stage(21, 1, "terminal.notify", 950, 999),
    ]
}
