//! A service `baton.exec.v1.Exec` that answers every call with the same events or the same error.

use std::sync::Arc;

use baton_proto::exec::{ProcessEvent, RunRequest};
use baton_rpc::exec::exec_server::{Exec, ExecServer};
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream;
use tonic::{Request, Response, Status, Streaming};

/// Runs nothing. Tests mount it behind the right key to see what a client does with a hostile answer.
#[derive(Debug, Clone)]
pub struct ScriptedExec(Arc<Result<Vec<ProcessEvent>, Status>>);

impl ScriptedExec {
    /// Answers every `Run` with these events.
    pub fn events(events: Vec<ProcessEvent>) -> ExecServer<Self> {
        ExecServer::new(Self(Arc::new(Ok(events))))
    }

    /// Refuses every `Run` with this status.
    pub fn refusal(status: Status) -> ExecServer<Self> {
        ExecServer::new(Self(Arc::new(Err(status))))
    }
}

#[tonic::async_trait]
impl Exec for ScriptedExec {
    type RunStream = BoxStream<ProcessEvent>;

    async fn run(&self, _: Request<Streaming<RunRequest>>) -> Result<Response<Self::RunStream>, Status> {
        let events = self.0.as_ref().clone()?;
        let events = events.into_iter().map(Ok);
        Ok(Response::new(Box::pin(tokio_stream::iter(events))))
    }
}
