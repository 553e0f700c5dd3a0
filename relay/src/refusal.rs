//! A refusal: a typed error that becomes a gRPC status, a counter, and sometimes a retry hint.

use std::time::Duration;

use baton_proto::header;
use http::Response;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::response_body::ResponseBody;
use crate::{Metrics, RefusalReason};

/// An operation's error type. Its `Display` is the status message that a user reads.
pub(crate) trait Refusal: std::error::Error {
    /// The gRPC status code.
    fn code(&self) -> Code;

    /// The counter.
    fn counts_as(&self) -> RefusalReason;

    /// When a retry may succeed; `None` if a retry does not help.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// Counts the refusal and converts it to a status.
pub(crate) fn status(refusal: &dyn Refusal, metrics: &Metrics) -> Status {
    metrics.refuse(refusal.counts_as());
    tracing::debug!(reason = ?refusal.counts_as(), "refused: {refusal}");
    let mut metadata = MetadataMap::new();
    if let Some(after) = refusal.retry_after() {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        metadata.insert(header::RETRY_PUSHBACK, millis.into());
    }
    Status::with_metadata(refusal.code(), refusal.to_string(), metadata)
}

/// A trailers-only response.
pub(crate) fn response(refusal: &dyn Refusal, metrics: &Metrics) -> Response<ResponseBody> {
    status(refusal, metrics).into_http()
}
