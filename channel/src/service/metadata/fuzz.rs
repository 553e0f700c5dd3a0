//! Any metadata of a peer becomes equivalent headers, or is rejected.

use baton_fuzz::{Input, Script, Target};

use super::*;

/// The input: `grpc-timeout`, then keys and values.
pub(crate) const METADATA: Target = Target {
    name: "metadata",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if let Ok(value) = HeaderValue::from_bytes(input.chunk()) {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("grpc-timeout"), value)]);
        assert_ne!(timeout_ns(&headers), Some(0), "0 means no deadline");
    }
    let mut metadata = Vec::new();
    while !input.is_empty() {
        let key = String::from_utf8_lossy(input.chunk()).into_owned();
        metadata.push(Metadata {
            key,
            value: input.chunk().to_vec().into(),
        });
    }
    let entries = metadata.len();
    let Some(headers) = to_headers(metadata.clone()) else {
        return;
    };
    assert_eq!(headers.len(), entries, "an entry was lost");
    let implied = |entry: &Metadata| ["content-type", "te", "grpc-timeout"].contains(&entry.key.as_str());
    metadata.retain(|entry| !implied(entry));
    let mut back = from_headers(&headers);
    // A map keeps the order only among the values of one name.
    metadata.sort_by(|a, b| a.key.cmp(&b.key));
    back.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(back, metadata);
    // These readers handle the headers next: the status of a response, and the caller's trace.
    drop(tonic::Status::from_header_map(&headers));
    drop(baton_trace::w3c::TraceContext::extract(&headers));
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |timeout: &str, entries: &[(&str, &[u8])]| {
        let script = entries.iter().fold(
            Script::default().chunk(timeout.as_bytes()),
            |script, (key, value)| script.chunk(key.as_bytes()).chunk(value),
        );
        script.done()
    };
    let parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";
    vec![
        (
            "trace",
            of(
                "5S",
                &[
                    ("traceparent", parent),
                    ("tracestate", b"a=1,b=2"),
                    ("baggage", b"k=v;p"),
                ],
            ),
        ),
        (
            "status",
            of(
                "1H",
                &[
                    ("grpc-status", b"5"),
                    ("grpc-message", b"not%20found"),
                    ("grpc-status-details-bin", b"CAUSAA"),
                ],
            ),
        ),
        (
            "implied",
            of(
                "99999999H",
                &[
                    ("te", b"trailers"),
                    ("content-type", b"application/grpc"),
                    ("a", b"1"),
                    ("a", b"2"),
                ],
            ),
        ),
        ("uppercase", of("0n", &[("Key", b"v")])),
        ("not-a-header", of("-5S", &[("a b", b"x\ny"), ("", b"")])),
    ]
}

#[cfg(test)]
#[test]
fn no_metadata_changes_on_its_way_to_headers() {
    baton_fuzz::replay(&METADATA);
}
