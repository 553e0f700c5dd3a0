//! Trace files: OTLP/JSON (OTLP specification, "JSON Protobuf Encoding"), with every stage that the record's maker
//! knows.
//!
//! Times in a file are the measured nanoseconds, not rounded as for a collector. So the waterfall drawn from a file
//! equals the one drawn from the record, including the remainder. Only Jaeger's critical path needs rounding, and spans
//! reach Jaeger through [`otlp`](super::otlp).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use baton_trace::record::{CallRecord, Side};
use baton_trace::stage::Component;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;

use super::resource;
use super::spans::{self, SpansByComponent};

/// Writes `records` to a new or emptied file.
///
/// # Errors
/// Errors of the file.
pub fn write_file(path: impl AsRef<Path>, records: &[CallRecord]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    write(&mut file, records)?;
    file.flush()
}

/// Writes `records` as one JSON object and a line feed.
///
/// # Errors
/// Errors of the writer.
pub fn write(mut to: impl Write, records: &[CallRecord]) -> io::Result<()> {
    serde_json::to_writer(&mut to, &request(records))?;
    to.write_all(b"\n")
}

/// `records` as one OTLP request.
pub fn request(records: &[CallRecord]) -> ExportTraceServiceRequest {
    let mut resource_spans = Vec::new();
    for (side, part) in [
        (Side::Client, Component::Client),
        (Side::Server, Component::Server),
    ] {
        let mut all = SpansByComponent::default();
        for record in records.iter().filter(|record| record.side == side) {
            let spans = spans::whole(record);
            all.client.extend(spans.client);
            all.relay.extend(spans.relay);
            all.server.extend(spans.server);
            all.background.extend(spans.background);
        }
        let name = std::env::var("OTEL_SERVICE_NAME")
            .ok()
            .filter(|name| !name.is_empty());
        let own = resource::own(part, name);
        let groups = [
            (Component::Client, all.client),
            (Component::Relay, all.relay),
            (Component::Server, all.server),
        ];
        for (group, spans) in groups.into_iter().filter(|(_, spans)| !spans.is_empty()) {
            let resource = if group == part {
                own.clone()
            } else {
                resource::reported(group, &own)
            };
            resource_spans.extend(group_spans_by_resource_and_scope(spans, &(&resource).into()));
        }
        if !all.background.is_empty() {
            let resource = resource::background(&own);
            resource_spans.extend(group_spans_by_resource_and_scope(
                all.background,
                &(&resource).into(),
            ));
        }
    }
    ExportTraceServiceRequest { resource_spans }
}

#[cfg(test)]
mod tests {
    use baton_trace::stage::transport::*;
    use baton_trace::test_records::{record, stage};
    use serde_json::Value;

    use super::*;

    fn json(records: &[CallRecord]) -> Value {
        let mut out = Vec::new();
        write(&mut out, records).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_file_is_otlp_json() {
        let record = record(vec![
            stage(CALL, 0, 100),
            stage(RELAY_QUEUE, 20, 25),
            stage(RPC, 30, 60),
        ]);
        let json = json(&[record]);
        let groups = json["resourceSpans"].as_array().unwrap();
        let service = |group: &Value| {
            let attributes = group["resource"]["attributes"].as_array().unwrap();
            let name = attributes
                .iter()
                .find(|attribute| attribute["key"] == "service.name")
                .unwrap();
            name["value"]["stringValue"].clone()
        };
        let services: Vec<_> = groups.iter().map(service).collect();
        assert_eq!(services, ["baton-client", "baton-relay", "baton-exec-server"]);

        let call = &groups[0]["scopeSpans"][0]["spans"][0];
        assert_eq!(call["traceId"], "0000000000000000000000000000002a");
        assert_eq!(call["spanId"], "0000000000000007");
        assert_eq!(call["kind"], 3);
        assert_eq!(call["startTimeUnixNano"], "1700000000000000000");
        assert_eq!(call["endTimeUnixNano"], "1700000000000000100");
        let attributes = call["attributes"].as_array().unwrap();
        let remainder = attributes
            .iter()
            .find(|kv| kv["key"] == "baton.remainder_ns")
            .unwrap();
        assert_eq!(remainder["value"]["intValue"], "95");
        assert_eq!(
            groups[2]["scopeSpans"][0]["spans"][0]["parentSpanId"],
            "0000000000000007"
        );
    }
}
