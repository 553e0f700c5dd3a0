//! An exec-server: the service, mounted on a channel beside others, with an ordered shutdown.
//!
//! ```no_run
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! use baton_channel::allow::AllowList;
//! use baton_channel::{Server, key::Seed};
//! use baton_exec_server::ExecServer;
//!
//! let allow = AllowList::file("allowed_clients")?;
//! let server = Server::new("http://relay.example:7700", &Seed::generate()?, allow)?;
//! println!("ticket: {}", server.ticket());
//! let server = ExecServer::builder(server).build()?;
//! server.serve(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use baton_channel::{Routes, Server, ServerError, Service};
use baton_proto::Features;
use baton_rpc::exec::exec_server::ExecServer as ExecRoutes;
use baton_rpc::files::files_server::FilesServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::BoxFuture;

use crate::CloneUnavailable;
use crate::event_body::EventBodies;
use crate::files::FilesService;
use crate::records::{Gate, Observer, Records};
use crate::restricted::Restricted;
use crate::service::ExecService;
use crate::settings::Settings;
use crate::user::OnUserRefused;

/// Runs commands for the clients of a [`Server`], with an ordered shutdown.
///
/// `S` are the services mounted beside `Exec` and `Files`.
pub struct ExecServer<S = NoService> {
    server: Server,
    service: ExecService,
    has_user: bool,
    files: FilesService,
    services: S,
    hooks: Vec<ShutdownHook>,
}

/// Configures an [`ExecServer`]; see [`ExecServer::builder`].
pub struct Builder<S = NoService> {
    server: Server,
    settings: Settings,
    records: Records,
    on_user_refused: Option<OnUserRefused>,
    services: S,
    hooks: Vec<ShutdownHook>,
}

/// One step of a shutdown.
struct ShutdownHook {
    name: &'static str,
    limit: Duration,
    run: Box<dyn FnOnce() -> HookFuture + Send>,
}

type HookFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The result of an [`ExecServer`]'s shutdown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shutdown {
    /// Processes that were not reaped within [`SHUTDOWN_TIMEOUT`](crate::limits::SHUTDOWN_TIMEOUT): 0 unless the kernel
    /// cannot end one.
    pub processes_left: usize,
    /// The hooks that were dropped at their limit, by name.
    pub hooks_cut: Vec<&'static str>,
}

impl ExecServer {
    /// An exec-server on this channel, without observer, gate and further services.
    pub fn builder(server: Server) -> Builder {
        Builder {
            server,
            settings: Settings::default(),
            records: Records::default(),
            on_user_refused: None,
            services: NoService,
            hooks: Vec::new(),
        }
    }
}

impl<S> Builder<S> {
    /// Replaces the default [`Settings`].
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Replaces observer and gate.
    pub fn records(mut self, records: Records) -> Self {
        self.records = records;
        self
    }

    /// Reports every process to this observer.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.records.observer = Some(observer);
        self
    }

    /// Reports each command that is not started because of the user that it has to run as, for a log. The exec-server's
    /// owner learns of it only so: a client gets an error, and cannot change it.
    pub fn on_user_refused(mut self, report: OnUserRefused) -> Self {
        self.on_user_refused = Some(report);
        self
    }

    /// Waits for this gate before every start.
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.records.gate = Some(gate);
        self
    }

    /// Mounts a further tonic service on the same sessions. Calls of its methods carry the same `Arc<Peer>` in their
    /// extensions. Of two services of one name, the last that was added is called. Calls of clients with a forced
    /// command ([`ClientOptions::command`](baton_channel::allow::ClientOptions::command)) or a user
    /// ([`ClientOptions::user`](baton_channel::allow::ClientOptions::user)) are refused before they reach it: what it
    /// does has the rights of this process. [`Settings::user`] does not refuse them, since the program sets it itself.
    pub fn service<A>(self, service: A) -> Builder<Routes<A, S>> {
        let Self {
            server,
            settings,
            records,
            on_user_refused,
            services,
            hooks,
        } = self;
        Builder {
            server,
            settings,
            records,
            on_user_refused,
            services: Routes::new(service, services),
            hooks,
        }
    }

    /// Adds a step to the shutdown. Hooks run one after the other, in the order in which they were added, once no
    /// process is left and no call is open. A hook that takes longer than `limit` is dropped and named in
    /// [`Shutdown::hooks_cut`].
    pub fn on_shutdown<F>(
        mut self,
        name: &'static str,
        limit: Duration,
        hook: impl FnOnce() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push(ShutdownHook {
            name,
            limit,
            run: Box::new(move || Box::pin(hook())),
        });
        self
    }

    /// Builds the exec-server. Must be called in a tokio runtime with IO and time.
    ///
    /// # Errors
    /// [`Settings::spawn`] does not work here.
    pub fn build(self) -> Result<ExecServer<S>, CloneUnavailable> {
        let mut service = ExecService::with(self.server.epoch(), &self.settings)?
            .records(self.records)
            .revocations(self.server.revocations());
        if let Some(report) = self.on_user_refused {
            service = service.on_user_refused(report);
        }
        let features = [
            Features::FIND_UP,
            Features::READ_FILES,
            Features::WRITE_FILES,
            Features::SIGNALS,
            Features::RESUME_WRITES,
            Features::TERMINALS,
            Features::USERS,
            Features::DETACHED,
            Features::FAULTS,
            Features::SEARCH_FILES,
            Features::READ_MANY,
        ];
        let mut server = features.into_iter().fold(self.server, Server::announce);
        if !self.settings.max_grace.is_zero() {
            let of_grace = [Features::OUTLIVES_SESSION, Features::ATTACH];
            server = of_grace.into_iter().fold(server, Server::announce);
        }
        Ok(ExecServer {
            server,
            has_user: self.settings.user.is_some(),
            service,
            files: FilesService::new(self.settings.directory),
            services: self.services,
            hooks: self.hooks,
        })
    }
}

impl<S> ExecServer<S>
where
    Routes<ExecRoutes<ExecService>, Routes<FilesServer<FilesService>, S>>: Service,
{
    /// The service `Exec`. Clones of it share the processes.
    pub fn service(&self) -> &ExecService {
        &self.service
    }

    /// As [`serve_or_cut`](Self::serve_or_cut), without a second signal.
    ///
    /// # Errors
    /// As [`Server::serve`].
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<Shutdown, ServerError> {
        self.serve_or_cut(stop, pending()).await
    }

    /// Serves until `stop` resolves, and then shuts down in this order:
    ///
    /// 1. No further call is accepted. Open calls have
    ///    [`ServerConfig::drain_timeout`](baton_channel::ServerConfig::drain_timeout) to be answered, or until `cut`
    ///    resolves, which may be before `stop`.
    /// 2. Processes are killed, and reaped within [`SHUTDOWN_TIMEOUT`](crate::limits::SHUTDOWN_TIMEOUT).
    /// 3. The hooks run, each within its limit.
    ///
    /// Dropping the future before it resolves skips the remaining steps.
    ///
    /// # Errors
    /// As [`Server::serve`]; steps 2 and 3 are done before it is returned.
    pub async fn serve_or_cut(
        self,
        stop: impl Future<Output = ()>,
        cut: impl Future<Output = ()>,
    ) -> Result<Shutdown, ServerError> {
        let Self {
            server,
            service,
            has_user,
            files,
            services,
            hooks,
        } = self;
        let routes = Routes::new(files.into_server(), services);
        let routes = Restricted {
            inner: Routes::new(service.clone().into_server(), routes),
            has_user,
        };
        let routes = EventBodies(routes);
        let outcome = tokio::select! {
            outcome = server.serve(routes, stop) => outcome,
            () = cut => Ok(()),
        };
        let mut shutdown = Shutdown {
            processes_left: service.shutdown().await,
            hooks_cut: Vec::new(),
        };
        for ShutdownHook { name, limit, run } in hooks {
            if tokio::time::timeout(limit, run()).await.is_err() {
                shutdown.hooks_cut.push(name);
            }
        }
        outcome.map(|()| shutdown)
    }
}

/// Terminates a list of services: answers UNIMPLEMENTED to every call.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoService;

impl tower_service::Service<http::Request<Body>> for NoService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        Box::pin(ready(Ok(Status::unimplemented("").into_http())))
    }
}

impl<S> fmt::Debug for ExecServer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecServer")
            .field("service", &self.service)
            .field("hooks", &self.hooks.len())
            .finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Builder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .field("hooks", &self.hooks.len())
            .finish_non_exhaustive()
    }
}
