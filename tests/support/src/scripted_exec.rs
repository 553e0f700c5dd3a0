//! A service `baton.exec.v1.Exec` that answers every call with the same events or the same error. It does not implement
//! the generated trait, so that a new method of the service needs no change here.

use std::convert::Infallible;
use std::future::{self, Ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_proto::exec::{ProcessEvent, RunRequest};
use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, BoxStream, Service, tokio_stream};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

/// An `Exec` service that runs nothing. Tests serve it with the expected key, to check how a client handles hostile
/// answers.
#[derive(Debug, Clone)]
pub struct ScriptedExec(Arc<Result<Vec<ProcessEvent>, Status>>);

impl ScriptedExec {
    /// Answers every call with these events.
    pub fn events(events: Vec<ProcessEvent>) -> Self {
        Self(Arc::new(Ok(events)))
    }

    /// Refuses every call with this status.
    pub fn refusal(status: Status) -> Self {
        Self(Arc::new(Err(status)))
    }
}

impl NamedService for ScriptedExec {
    const NAME: &'static str = "baton.exec.v1.Exec";
}

impl Service<Request<Body>> for ScriptedExec {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let script = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<ProcessEvent, RunRequest>::default();
            Ok(Grpc::new(codec).streaming(script, request).await)
        })
    }
}

impl StreamingService<RunRequest> for ScriptedExec {
    type Response = ProcessEvent;
    type ResponseStream = BoxStream<ProcessEvent>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: tonic::Request<Streaming<RunRequest>>) -> Self::Future {
        let answer = self.0.as_ref().clone().map(|events| {
            let events = events.into_iter().map(Ok);
            tonic::Response::new(Box::pin(tokio_stream::iter(events)) as Self::ResponseStream)
        });
        future::ready(answer)
    }
}
