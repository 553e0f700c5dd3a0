//! An OTLP receiver that counts spans and drops them. The sender pays the cost of an export; the receiver does little.
//!
//! A benchmark runs it in a separate process, so that its CPU time is not attributed to a measured process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baton_support::otlp::Receiver;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// The numbers of requests and spans that a sink received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Export requests.
    pub batches: u64,
    /// Spans in them.
    pub spans: u64,
    /// Spans of kind CLIENT: one for each call that a client exported.
    pub client_spans: u64,
    /// Spans of kind SERVER: one for each call that a server exported.
    pub server_spans: u64,
}

/// A bound sink.
pub struct SpanSink {
    receiver: Receiver,
    counters: Arc<Counters>,
}

/// Reads the counts of a running sink. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SpanSinkHandle(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    batches: AtomicU64,
    spans: AtomicU64,
    client_spans: AtomicU64,
    server_spans: AtomicU64,
}

impl SpanSink {
    /// Binds a free port of loopback. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn bind() -> io::Result<Self> {
        let receiver = Receiver::bind()?;
        let counters = Arc::default();
        Ok(Self { receiver, counters })
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn endpoint(&self) -> io::Result<String> {
        self.receiver.endpoint()
    }

    /// A handle that reads the counts.
    pub fn handle(&self) -> SpanSinkHandle {
        SpanSinkHandle(Arc::clone(&self.counters))
    }

    /// Serves until dropped.
    ///
    /// # Errors
    /// An error of the operating system.
    pub async fn serve(self) -> io::Result<()> {
        let Self { receiver, counters } = self;
        receiver
            .serve(move |request: Request| counters.count(&request))
            .await
    }
}

impl SpanSinkHandle {
    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            batches: read(&self.0.batches),
            spans: read(&self.0.spans),
            client_spans: read(&self.0.client_spans),
            server_spans: read(&self.0.server_spans),
        }
    }
}

impl Counters {
    fn count(&self, request: &Request) {
        let mut counts = Counts::default();
        let scopes = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
        for span in scopes.flat_map(|scope| &scope.spans) {
            counts.spans += 1;
            counts.client_spans += u64::from(span.kind() == SpanKind::Client);
            counts.server_spans += u64::from(span.kind() == SpanKind::Server);
        }
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.spans.fetch_add(counts.spans, Ordering::Relaxed);
        self.client_spans
            .fetch_add(counts.client_spans, Ordering::Relaxed);
        self.server_spans
            .fetch_add(counts.server_spans, Ordering::Relaxed);
    }
}

/// The fields of `ExportTraceServiceRequest` that are counted. Decoding the rest would take about as much CPU time of
/// the measured machine as encoding did.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Span {
    #[prost(enumeration = "SpanKind", tag = "6")]
    kind: i32,
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    fn span(kind: SpanKind) -> Span {
        Span {
            kind: kind.into(),
            ..Span::default()
        }
    }

    #[tokio::test]
    async fn spans_are_counted_over_all_groups_and_batches() {
        let sink = SpanSink::bind().unwrap();
        let handle = sink.handle();
        let endpoint = sink.endpoint().unwrap();
        let serving = tokio::spawn(sink.serve());
        let scope = |kinds: &[SpanKind]| ScopeSpans {
            spans: kinds.iter().map(|kind| span(*kind)).collect(),
            ..ScopeSpans::default()
        };
        let group = |scope_spans| ResourceSpans {
            scope_spans,
            ..ResourceSpans::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![
                group(vec![scope(&[SpanKind::Client, SpanKind::Internal]), scope(&[])]),
                group(vec![scope(&[
                    SpanKind::Server,
                    SpanKind::Server,
                    SpanKind::Internal,
                ])]),
            ],
        };
        let mut client = TraceServiceClient::connect(endpoint).await.unwrap();
        for _ in 0..2 {
            client.export(request.clone()).await.unwrap();
        }
        assert_eq!(
            handle.counts(),
            Counts {
                batches: 2,
                spans: 10,
                client_spans: 2,
                server_spans: 4,
            }
        );
        serving.abort();
    }
}
