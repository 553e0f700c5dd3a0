//! The service `baton.exec.v1.Exec`, as a plain tonic service.

use std::sync::Arc;
use std::time::Duration;

use baton_channel::Revocations;
use baton_channel::allow::Peer;
use baton_proto::exec::run_request::Kind;
use baton_proto::exec::{
    Attach, ListRequest, ListResponse, PollRequest, PollResponse, RunRequest, SignalRequest, SignalResponse,
    Start, WaitRequest,
};
use baton_proto::header::USER;
use baton_proto::{Epoch, ProcessId};
use baton_rpc::exec::exec_server::{Exec, ExecServer};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::error::{AttachError, InvalidStart, StartError};
use crate::event_body::{self, EventStream};
use crate::limits::{GRACE_MAX, REQUEST_BYTES, START_TIMEOUT};
use crate::process::{self, Backend, CallContext, Events, Launch, ProcessTable, Processes, System};
use crate::records::Records;
use crate::refusal::RESTRICTED;
use crate::settings::Settings;
use crate::user::{OnUserRefused, UserError, Users};
use crate::{CloneUnavailable, SpawnMethod};

mod list;
mod signal;

/// Runs processes. Clones share one process table.
///
/// A request's extensions must hold an `Arc<`[`Peer`]`>`, else it is refused as unauthenticated. A client with a forced
/// command ([`ClientOptions::command`](baton_channel::allow::ClientOptions::command)) runs that instead of what it asks
/// for. A client with a user ([`ClientOptions::user`](baton_channel::allow::ClientOptions::user)), else one of
/// [`Settings::user`], runs its commands as that user. The extensions may hold an `Arc<ServerCall>`: then the process's
/// stages are recorded in it, and the child's environment carries its trace context. They may hold a `CallEndCell` with
/// the reason why a call was cut short: records take it from there, and without it no process outlives its call. They
/// may hold the `CallDeadline`, which also holds during a process's grace.
#[derive(Debug, Clone)]
pub struct ExecService<B = System> {
    epoch: Epoch,
    processes: Processes<B>,
}

impl ExecService {
    /// A service with default settings. `epoch` names this run of the server; clients learn it when they connect.
    pub fn new(epoch: Epoch) -> Self {
        Self::on(System::auto(), epoch, &Settings::default())
    }

    /// As [`ExecService::new`], with other settings.
    ///
    /// # Errors
    /// [`Settings::spawn`] is [`SpawnMethod::Clone`], which does not work here.
    pub fn with(epoch: Epoch, settings: &Settings) -> Result<Self, CloneUnavailable> {
        Ok(Self::on(System::with(settings)?, epoch, settings))
    }

    fn on(system: System, epoch: Epoch, settings: &Settings) -> Self {
        let mut service = Self::with_backend(epoch, settings.max_processes, system);
        service.processes.home = settings.directory.path().map(Into::into);
        service.processes.users = Users::new(settings.user.as_deref());
        service.max_grace(settings.max_grace)
    }

    /// How commands are started: [`SpawnMethod::Clone`] or [`SpawnMethod::Std`].
    pub fn spawn_method(&self) -> SpawnMethod {
        self.processes.backend.children().method
    }

    /// Why [`SpawnMethod::Auto`] has not selected [`SpawnMethod::Clone`].
    pub fn spawn_fallback(&self) -> Option<CloneUnavailable> {
        self.processes.backend.children().fallback
    }
}

impl<B: Backend> ExecService<B> {
    /// A service on another [`Backend`], which also chooses the default working directory.
    pub fn with_backend(epoch: Epoch, max_processes: usize, backend: B) -> Self {
        Self {
            epoch,
            processes: Processes {
                backend,
                table: Arc::new(ProcessTable::new(max_processes)),
                home: None,
                records: Records::default(),
                users: Users::new(None),
                max_grace: GRACE_MAX,
                revocations: None,
            },
        }
    }

    /// Sets the observer and the gate. Clones that exist already keep theirs.
    pub fn records(mut self, records: Records) -> Self {
        self.processes.records = records;
        self
    }

    /// Sets the observer of commands that are refused because of the user that they would run as. Clones that exist
    /// already keep theirs.
    pub fn on_user_refused(mut self, report: OnUserRefused) -> Self {
        self.processes.users.on_refused(report);
        self
    }

    /// Sets the longest time that a process may outlive its session. Clones that exist already keep theirs.
    pub fn max_grace(mut self, limit: Duration) -> Self {
        self.processes.max_grace = limit;
        self
    }

    /// Sets how much output is kept for clients that attach again, in place of
    /// [`KEPT_BYTES`](crate::limits::KEPT_BYTES), for all clones. For tests.
    #[doc(hidden)]
    pub fn kept_bytes(self, bytes: usize) -> Self {
        self.processes.table.set_kept_bytes(bytes);
        self
    }

    /// Sets where a process in its grace is watched, so that it is killed when its client's key is revoked. Without it
    /// such a process lives until its grace ends. Clones that exist already keep theirs.
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.processes.revocations = Some(revocations);
        self
    }

    /// The service as tonic mounts it, with this crate's limits on requests.
    pub fn into_server(self) -> ExecServer<Self> {
        ExecServer::new(self).max_decoding_message_size(REQUEST_BYTES)
    }

    /// The epoch that starts must name.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The process that a request names, in this run of the server.
    fn known(&self, process_id: &[u8], epoch: &[u8]) -> Result<ProcessId, AttachError> {
        let id = ProcessId::try_from(process_id).map_err(|_| AttachError::Invalid)?;
        if !epoch.is_empty() {
            let epoch = Epoch::try_from(epoch).map_err(|_| AttachError::Invalid)?;
            if epoch != self.epoch {
                return Err(AttachError::Lost);
            }
        }
        Ok(id)
    }

    /// Processes that have not been reaped, those being killed included.
    pub fn processes(&self) -> usize {
        self.processes.table.len()
    }

    /// Refuses new processes, kills all process groups, and waits until they are reaped, at most
    /// [`crate::limits::SHUTDOWN_TIMEOUT`]. Returns how many are left, 0 unless the kernel cannot end one. If the
    /// returned future is dropped the kill still goes on.
    pub async fn shutdown(&self) -> usize {
        self.processes.table.shutdown().await
    }
}

#[tonic::async_trait]
impl<B: Backend> Exec for ExecService<B> {
    type RunStream = EventStream<Events>;
    type AttachStream = EventStream<Events>;
    type WaitStream = Events;

    async fn run(
        &self,
        request: Request<Streaming<RunRequest>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let extensions = request.extensions();
        let client = extensions
            .get::<Arc<Peer>>()
            .ok_or(StartError::Unauthenticated)?
            .clone();
        let context = CallContext::of(extensions);
        let asked = asked_user(&request)?;
        let mut requests = request.into_inner();
        let start = first(&mut requests).await?;
        let run_as = self.processes.users.of_command(&client, asked.as_deref()).await;
        let launch = Launch::of_client(start, &client, run_as).map_err(StartError::from)?;
        if launch.epoch != self.epoch {
            return Err(StartError::Lost.into());
        }
        // From here on a driver owns the process, also if this future is dropped.
        let mut events = process::run(&self.processes, &client, launch, context, requests).await?;
        events.settled().await?;
        Ok(event_body::respond(events))
    }

    async fn signal(&self, request: Request<SignalRequest>) -> Result<Response<SignalResponse>, Status> {
        signal::signal(&self.processes.table, request)?;
        Ok(Response::new(SignalResponse {}))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Ok(Response::new(list::list(&self.processes.table, request)?))
    }

    async fn attach(
        &self,
        request: Request<Streaming<RunRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let extensions = request.extensions();
        let client = extensions
            .get::<Arc<Peer>>()
            .ok_or(StartError::Unauthenticated)?
            .clone();
        if client.options().command().is_some() {
            // The process may be an older one of this key, which runs another program.
            return Err(Status::permission_denied(RESTRICTED));
        }
        let context = CallContext::of(extensions);
        let mut requests = request.into_inner();
        let attach = first_attach(&mut requests).await?;
        let id = self.known(&attach.process_id, &attach.epoch)?;
        let events = process::attach(&self.processes, &client, id, &attach, context, requests)?;
        Ok(event_body::respond(events))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<Events>, Status> {
        let extensions = request.extensions();
        let client = extensions
            .get::<Arc<Peer>>()
            .ok_or(StartError::Unauthenticated)?
            .clone();
        let WaitRequest { process_id, epoch } = request.into_inner();
        let id = self.known(&process_id, &epoch)?;
        Ok(Response::new(process::wait(&self.processes, &client, id)?))
    }

    async fn poll(&self, request: Request<PollRequest>) -> Result<Response<PollResponse>, Status> {
        let extensions = request.extensions();
        let client = extensions
            .get::<Arc<Peer>>()
            .ok_or(StartError::Unauthenticated)?
            .clone();
        if client.options().command().is_some() {
            return Err(Status::permission_denied(RESTRICTED));
        }
        let PollRequest {
            process_id,
            epoch,
            after_seq,
            wait_ms,
        } = request.into_inner();
        let id = self.known(&process_id, &epoch)?;
        let wait = Duration::from_millis(wait_ms.into());
        let events = process::poll(&self.processes, &client, id, after_seq, wait).await?;
        Ok(Response::new(PollResponse { events }))
    }
}

/// The user that the client wants its command to run as; `None`: any.
fn asked_user<T>(request: &Request<T>) -> Result<Option<String>, StartError> {
    let Some(name) = request.metadata().get(USER) else {
        return Ok(None);
    };
    let name = name.to_str().map_err(|_| UserError::Other)?;
    Ok(Some(name.to_owned()))
}

async fn first_attach(requests: &mut Streaming<RunRequest>) -> Result<Attach, Status> {
    let first = timeout(START_TIMEOUT, requests.message()).await;
    let first = first.map_err(|_| AttachError::Invalid)?;
    match first {
        Ok(Some(RunRequest {
            kind: Some(Kind::Attach(attach)),
        })) => Ok(attach),
        Err(status) if status.code() != Code::Internal => Err(status),
        Ok(_) | Err(_) => Err(AttachError::Invalid.into()),
    }
}

async fn first(requests: &mut Streaming<RunRequest>) -> Result<Start, Status> {
    let first = timeout(START_TIMEOUT, requests.message()).await;
    let first = first.map_err(|_| StartError::from(InvalidStart::TooLate))?;
    // A request that does not decode is the client's fault, and the library's message would not help the client.
    let first = first.map_err(|status| match status.code() {
        Code::Internal => StartError::from(InvalidStart::Unreadable).into(),
        _ => status,
    })?;
    match first {
        Some(RunRequest {
            kind: Some(Kind::Start(start)),
        }) => Ok(start),
        _ => Err(StartError::from(InvalidStart::NotFirst).into()),
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
