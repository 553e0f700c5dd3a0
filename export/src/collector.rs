//! The connection to the collector: one unary RPC with an encoded request.
//!
//! It is established when first needed, and again after it was lost. The caller decides when to retry.

mod connector;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::sync::Mutex;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Extensions, Request, Status};

use super::failure::{ExportFailure, FailureKind, innermost};
use super::settings::ExporterSettings;
use super::state::{Destination, RejectedSpans};
use crate::response_guard::ResponseGuard;
use connector::CollectorConnector;

/// Names the exporter, its language and its version (OpenTelemetry, "OpenTelemetry Protocol Exporter", section "User
/// Agent"). The prefix differs from `OTel-OTLP-Exporter-Rust`, which is another implementation.
const USER_AGENT: &str = concat!("Baton-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION"));
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A collector.
pub(super) struct Collector {
    uri: Uri,
    headers: HeaderMap,
    timeout: Duration,
    /// Held while connecting, so that concurrent users share one attempt.
    channel: Mutex<Option<Channel>>,
    /// The endpoint has responded in HTTP/1.
    speaks_http1: Arc<AtomicBool>,
}

impl Collector {
    pub(super) fn new(settings: &ExporterSettings) -> Self {
        Self {
            uri: settings.endpoint.clone(),
            headers: settings.headers.clone(),
            timeout: settings.timeout,
            channel: Mutex::new(None),
            speaks_http1: Arc::default(),
        }
    }

    async fn channel(&self) -> Result<Channel, ExportFailure> {
        let mut channel = self.channel.lock().await;
        if let Some(channel) = &*channel {
            return Ok(channel.clone());
        }
        let plain = Endpoint::from(self.uri.clone()).connect_timeout(self.timeout);
        let named = plain.clone().user_agent(USER_AGENT);
        // A fixed, valid header value; the plain endpoint serves as well.
        let endpoint = named.unwrap_or(plain);
        let dial = CollectorConnector::new(Arc::clone(&self.speaks_http1));
        match endpoint.connect_with_connector(dial).await {
            Ok(connected) => Ok(channel.insert(connected).clone()),
            Err(error) => Err(self.failure(FailureKind::Connect(innermost(&error)))),
        }
    }

    async fn attempt(&self, request: Bytes) -> Result<ExportTraceServiceResponse, ExportFailure> {
        let mut client = Grpc::new(ResponseGuard(self.channel().await?));
        let ready = client.ready().await;
        ready.map_err(|error| self.failure(FailureKind::Connect(innermost(&error))))?;
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let request = Request::from_parts(metadata, Extensions::default(), request);
        let response = client.unary(request, PathAndQuery::from_static(EXPORT), BytesCodec);
        match response.await {
            Ok(response) => {
                self.speaks_http1.store(false, Ordering::Relaxed);
                Ok(response.into_inner())
            }
            // The endpoint responded in HTTP/1 now, or earlier: this time it may have closed before its response was
            // read.
            Err(_) if self.speaks_http1.load(Ordering::Relaxed) => Err(self.failure(FailureKind::Http1)),
            Err(status) => Err(ExportFailure::from_status(&self.uri, &status)),
        }
    }

    fn failure(&self, kind: FailureKind) -> ExportFailure {
        ExportFailure::new(&self.uri, kind)
    }
}

impl Destination for Collector {
    async fn connect(&self) -> Result<(), ExportFailure> {
        self.channel().await.map(drop)
    }

    async fn send(&self, request: Bytes, spans: u64) -> Result<Option<RejectedSpans>, ExportFailure> {
        let result = match tokio::time::timeout(self.timeout, self.attempt(request)).await {
            Ok(result) => result,
            Err(_) => Err(self.failure(match self.channel.try_lock() {
                Ok(channel) if channel.is_some() => FailureKind::Late,
                _ => FailureKind::Connecting,
            })),
        };
        match result {
            Ok(response) => Ok(rejected(spans, response).map(|(spans, message)| RejectedSpans {
                spans,
                why: self.failure(FailureKind::Rejected(message)),
            })),
            Err(failure) => {
                if failure.is_retryable() {
                    // The error may have broken the connection.
                    *self.channel.lock().await = None;
                }
                Err(failure)
            }
        }
    }
}

/// The number of rejected spans and the collector's message. `None` if it accepted all.
fn rejected(spans: u64, response: ExportTraceServiceResponse) -> Option<(u64, String)> {
    let partial = response.partial_success?;
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0).min(spans);
    (rejected > 0).then_some((rejected, partial.error_message))
}

/// A codec that sends the encoded request unchanged.
#[derive(Debug, Clone, Copy)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.reserve(item.len());
        dst.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        match ExportTraceServiceResponse::decode(src) {
            Ok(response) => Ok(Some(response)),
            Err(_) => Err(Status::internal("the collector's answer is not OTLP")),
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(super) mod fuzz;
