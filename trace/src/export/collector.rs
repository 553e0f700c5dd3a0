//! The connection to the collector: one unary RPC of bytes that are encoded already.
//!
//! Retries as the OTLP specification asks: only what it calls retryable, with exponential backoff, and never
//! beyond the request's timeout in all.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::HeaderMap;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Extensions, Request, Status};

use super::resource;
use super::settings::Settings;
use super::wire::{Batch, Speaker};
use super::worker::Destination;
use crate::answer::Careful;
use crate::limits::{EXPORT_RETRIES, EXPORT_RETRY_FIRST};
use crate::stage::Exporter;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A collector, connected when it is first needed.
pub(super) struct Collector {
    channel: Channel,
    headers: HeaderMap,
    timeout: Duration,
    resource: Resource,
    own: Speaker,
}

impl Collector {
    /// Must be called inside the runtime that will drive it.
    pub(super) fn new(settings: &Settings, resource: Resource) -> Self {
        let channel = Endpoint::from(settings.endpoint.clone())
            .connect_timeout(settings.timeout)
            .tcp_nodelay(true)
            .user_agent(concat!("baton-trace/", env!("CARGO_PKG_VERSION")));
        // A fixed, valid header value; the plain endpoint serves as well.
        let channel = channel.unwrap_or_else(|_| Endpoint::from(settings.endpoint.clone()));
        Self {
            channel: channel.connect_lazy(),
            headers: settings.headers.clone(),
            timeout: settings.timeout,
            own: Speaker::new(&resource),
            resource,
        }
    }

    async fn attempt(&self, request: Bytes) -> Result<ExportTraceServiceResponse, Status> {
        let mut client = Grpc::new(Careful(self.channel.clone()));
        let ready = client.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let request = Request::from_parts(metadata, Extensions::default(), request);
        let response = client
            .unary(request, PathAndQuery::from_static(EXPORT), Encoded)
            .await?;
        Ok(response.into_inner())
    }

    async fn persist(&self, request: Bytes) -> Result<ExportTraceServiceResponse, Status> {
        let mut pause = EXPORT_RETRY_FIRST;
        for _ in 0..EXPORT_RETRIES {
            match self.attempt(request.clone()).await {
                Err(status) if is_retryable(status.code()) => tokio::time::sleep(pause).await,
                done => return done,
            }
            pause *= 2;
        }
        self.attempt(request).await
    }
}

impl Destination for Collector {
    async fn send(&mut self, batch: &mut Batch) -> usize {
        let spans = batch.len();
        let relay = || Speaker::new(&resource::reported(Exporter::Relay, &self.resource));
        let request = batch.take(&self.own, relay);
        match tokio::time::timeout(self.timeout, self.persist(request)).await {
            Ok(Ok(response)) => accepted(spans, &response),
            Ok(Err(_)) | Err(_) => 0,
        }
    }
}

/// How many of the spans sent the collector has taken, as it says.
fn accepted(spans: usize, response: &ExportTraceServiceResponse) -> usize {
    let partial = response.partial_success.as_ref();
    let rejected = partial.map_or(0, |partial| partial.rejected_spans);
    spans.saturating_sub(usize::try_from(rejected).unwrap_or(0))
}

/// OTLP specification, "OTLP/gRPC response", failures.
fn is_retryable(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// Passes the encoded request on as it is.
#[derive(Debug, Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
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

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.reserve(item.len());
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
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
