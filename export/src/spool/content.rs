//! The content of a file in the spool: `ExportTraceServiceRequest` messages, each after its length as a varint.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use prost::encoding::{decode_varint, encode_varint};

use crate::outbox::EncodedRequest;

/// Encodes the messages.
pub(super) fn encode(requests: &[EncodedRequest]) -> Vec<u8> {
    let bytes: usize = requests.iter().map(|request| request.bytes.len() + 10).sum();
    let mut out = Vec::with_capacity(bytes);
    for request in requests {
        encode_varint(request.bytes.len() as u64, &mut out);
        out.extend_from_slice(&request.bytes);
    }
    out
}

/// The readable part of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SpoolContent {
    /// Complete and valid messages with spans.
    pub(crate) requests: Vec<EncodedRequest>,
    /// Invalid data follows the messages, or the file has no message.
    pub(crate) is_damaged: bool,
}

impl SpoolContent {
    /// Reads to the end, or to the first damaged message; messages after it cannot be found.
    pub(crate) fn read(mut file: Bytes) -> Self {
        let mut requests = Vec::new();
        while !file.is_empty() {
            match next(&mut file) {
                Some(request) => requests.push(request),
                None => {
                    return Self {
                        requests,
                        is_damaged: true,
                    };
                }
            }
        }
        Self {
            is_damaged: requests.is_empty(),
            requests,
        }
    }
}

fn next(file: &mut Bytes) -> Option<EncodedRequest> {
    let len = usize::try_from(decode_varint(file).ok()?).ok()?;
    if len > file.len() {
        return None;
    }
    let bytes = file.split_to(len);
    let request = ExportTraceServiceRequest::decode(bytes.clone()).ok()?;
    let scopes = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
    let spans = scopes.map(|scope| scope.spans.len() as u64).sum();
    (spans > 0).then_some(EncodedRequest { bytes, spans })
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
