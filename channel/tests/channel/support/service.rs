//! gRPC without generated code: messages are bytes, methods are closures over streams of them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_channel::Channel;
use baton_support::codec::Raw;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream, StreamExt};
use tonic::body::Body;
use tonic::{Request, Response, Status, Streaming};

/// Larger than every message of the tests.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;

/// The response stream of a method.
pub(crate) type Answer = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Method = Arc<
    dyn Fn(Request<Streaming<Bytes>>) -> BoxFuture<'static, Result<Response<Answer>, Status>> + Send + Sync,
>;

/// A service of closures, by path.
#[derive(Clone, Default)]
pub(crate) struct Mounted {
    methods: HashMap<&'static str, Method>,
}

impl Mounted {
    /// A service with `/test/Echo`, which returns its messages and metadata.
    pub(crate) fn echo() -> Self {
        Self::default().on("/test/Echo", |request| async {
            let (metadata, _, messages) = request.into_parts();
            let mut response = answer(messages);
            *response.metadata_mut() = metadata;
            Ok(response)
        })
    }

    pub(crate) fn on<F>(
        mut self,
        path: &'static str,
        method: impl Fn(Request<Streaming<Bytes>>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Response<Answer>, Status>> + Send + 'static,
    {
        self.methods
            .insert(path, Arc::new(move |request| Box::pin(method(request))));
        self
    }
}

/// A response of these messages.
pub(crate) fn answer(
    messages: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
) -> Response<Answer> {
    Response::new(Box::pin(messages))
}

/// A response of one message.
pub(crate) fn message(bytes: impl Into<Bytes>) -> Response<Answer> {
    answer(stream::iter([Ok(bytes.into())]))
}

impl tower_service::Service<http::Request<Body>> for Mounted {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = self.methods.get(request.uri().path()).cloned();
        Box::pin(async move {
            let Some(method) = method else {
                return Ok(Status::unimplemented("").into_http());
            };
            let mut grpc = tonic::server::Grpc::new(Raw).max_decoding_message_size(MESSAGE_MAX);
            Ok(grpc.streaming(Run(method), request).await)
        })
    }
}

struct Run(Method);

impl tower_service::Service<Request<Streaming<Bytes>>> for Run {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        (self.0)(request)
    }
}

/// The equivalent of a generated client.
#[derive(Clone)]
pub(crate) struct Caller(tonic::client::Grpc<Channel>);

impl Caller {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(tonic::client::Grpc::new(channel).max_decoding_message_size(MESSAGE_MAX))
    }

    pub(crate) async fn unary(
        &self,
        path: &'static str,
        request: impl tonic::IntoRequest<Bytes>,
    ) -> Result<Response<Bytes>, Status> {
        let path = http::uri::PathAndQuery::from_static(path);
        self.0.clone().unary(request.into_request(), path, Raw).await
    }

    pub(crate) async fn client_streaming(
        &self,
        path: &'static str,
        request: impl tonic::IntoStreamingRequest<Message = Bytes>,
    ) -> Result<Response<Bytes>, Status> {
        let path = http::uri::PathAndQuery::from_static(path);
        let request = request.into_streaming_request();
        self.0.clone().client_streaming(request, path, Raw).await
    }

    pub(crate) async fn server_streaming(
        &self,
        path: &'static str,
        request: impl tonic::IntoRequest<Bytes>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        let path = http::uri::PathAndQuery::from_static(path);
        self.0
            .clone()
            .server_streaming(request.into_request(), path, Raw)
            .await
    }

    pub(crate) async fn streaming(
        &self,
        path: &'static str,
        request: impl tonic::IntoStreamingRequest<Message = Bytes>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        let path = http::uri::PathAndQuery::from_static(path);
        self.0
            .clone()
            .streaming(request.into_streaming_request(), path, Raw)
            .await
    }

    /// Calls `/test/Echo`.
    pub(crate) async fn echo(&self, text: &'static str) -> Result<Bytes, Status> {
        let response = self
            .unary("/test/Echo", Request::new(Bytes::from_static(text.as_bytes())))
            .await?;
        Ok(response.into_inner())
    }
}

/// Collects all messages of a response.
pub(crate) async fn collect(mut messages: Streaming<Bytes>) -> Result<Vec<Bytes>, Status> {
    let mut all = Vec::new();
    while let Some(message) = messages.next().await {
        all.push(message?);
    }
    Ok(all)
}
