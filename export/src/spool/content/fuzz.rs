//! Whatever is in a file of the spool, what is read of it is what it holds, and writes the same again.

use baton_fuzz::Target;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::*;

/// The input is the file.
pub(crate) const SPOOL_FILE: Target = Target {
    name: "spool-file",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let read = SpoolContent::read(Bytes::copy_from_slice(bytes));
    let again = encode(&read.requests);
    let twice = SpoolContent::read(again.into());
    assert_eq!(twice.requests, read.requests);
    assert_eq!(twice.is_damaged, read.requests.is_empty());
    assert!(read.requests.iter().all(|request| request.spans > 0));
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let request = |spans| {
        let scope = ScopeSpans {
            spans: vec![Span::default(); spans],
            ..ScopeSpans::default()
        };
        let group = ResourceSpans {
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![group],
        };
        request.encode_length_delimited_to_vec()
    };
    let two = [request(1), request(3)].concat();
    vec![
        ("two", two.clone()),
        ("cut", two[..two.len() - 1].to_vec()),
        ("without-spans", request(0)),
        ("longer-than-the-file", vec![0xff, 0xff, 0x03, 0]),
        ("no-varint", vec![0xff; 11]),
        ("text", b"\x05hello".to_vec()),
    ]
}

#[cfg(test)]
#[test]
fn no_file_of_the_spool_breaks_what_sends_it() {
    baton_fuzz::replay(&SPOOL_FILE);
}
