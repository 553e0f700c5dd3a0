//! `baton run`: relay, exec-server and client in one process, over real sockets and real Noise.
//!
//! Each role has its own thread and runtime, as it has its own process otherwise.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::{Notice, Server, ServerConfig};
use baton_core_client::{ChannelConfig, Client, Command, RecordTo, Seed, Ticket};
use baton_exec_server::{Directory, ExecServer, Settings};
use baton_export::resource;
use baton_relay::{Config, Relay};
use baton_trace::record::Side;
use baton_trace::recorder::Recorder;
use baton_trace::stage::Component;
use tokio::sync::oneshot;

use super::{Ending, Graces, Streams, run_attached, show_trace};
use crate::args::{RunArgs, WaterfallDetail};
use crate::error::CliError;
use crate::exporters::Exporters;
use crate::limits::KILL_GRACE_DEFAULT;
use crate::logging;
use crate::runtime::runtime;
use crate::trace_outputs::TraceOutputs;

pub(crate) fn main(args: RunArgs) -> Result<i32, CliError> {
    logging::start("error");
    // Otherwise client and exec-server would be one instance of one service in telemetry.
    resource::set_configured_component(Component::Client);
    let traces = TraceOutputs::open(args.trace_json, args.trace_dir)?;
    let client_key = Seed::generate()?.client_key()?;
    let mut exporting = Exporters::of_command();
    let recorder = exporting.start(Side::Client)?;
    let relay = EmbeddedRole::relay()?;
    let allow = AllowList::only(*client_key.public(), "embedded", Trust::Continue);
    let server = EmbeddedRole::exec_server(relay.ready, allow, exporting.start(Side::Server)?)?;

    let mut argv = args.command.into_iter();
    let (record_to, mut record) = RecordTo::channel();
    let mut command = Command::new(argv.next().unwrap_or_default())
        .args(argv)
        .record_to(record_to);
    if let Some(cwd) = args.cwd {
        command = command.current_dir(cwd);
    }
    if let Some(label) = args.label {
        command = command.label(label);
    }
    if let Some(limit) = args.timeout {
        command = command.timeout(limit);
    }
    let runtime = runtime()?;
    let config = ChannelConfig {
        recorder,
        ..ChannelConfig::default()
    };
    let client = Client::with_config(server.ready, client_key, config);
    let graces = Graces {
        session: Duration::ZERO,
        kill: KILL_GRACE_DEFAULT,
    };
    let outcome = runtime.block_on(async {
        let outcome = run_attached(&client, Arc::default(), command, graces, Streams::PIPES, None).await;
        client.close().await;
        outcome
    });
    // Otherwise the relay would wait for a connection that no task drives any more.
    drop(client);
    drop(runtime);
    // The exec-server kills surviving processes before it ends.
    server.stopper.stop();
    relay.stopper.stop();
    exporting.finish(&self::runtime()?, args.flush_timeout);
    let drawing = args.trace.unwrap_or(WaterfallDetail::Full);
    show_trace(
        record.try_recv().ok().as_ref(),
        traces,
        (!args.quiet).then_some(drawing),
    );
    outcome.and_then(Ending::exit_code)
}

/// A role on its own thread, and its value once it is ready: the relay's address, the exec-server's ticket.
struct EmbeddedRole<T> {
    ready: T,
    stopper: RoleStopper,
}

struct RoleStopper {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl RoleStopper {
    fn stop(self) {
        // Fails if the role has already ended.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

impl EmbeddedRole<SocketAddr> {
    fn relay() -> Result<Self, CliError> {
        spawn("baton-relay", |ready, stopped| async move {
            let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            match Relay::bind(loopback, Config::default()).await {
                Ok(relay) => {
                    let _ = ready.send(Ok(relay.local_addr()));
                    relay.serve(stopped).await;
                }
                Err(error) => drop(ready.send(Err(error.into()))),
            }
        })
    }
}

impl EmbeddedRole<Ticket> {
    fn exec_server(relay: SocketAddr, allow: AllowList, recorder: Recorder) -> Result<Self, CliError> {
        spawn("baton-exec", move |ready, stopped| async move {
            let config = ServerConfig {
                recorder,
                ..ServerConfig::default()
            };
            let url = format!("http://{relay}");
            let server = Seed::generate()
                .map_err(CliError::from)
                .and_then(|seed| Ok(Server::with_config(&url, &seed, allow, config)?));
            let server = match server {
                Ok(server) => server,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let ticket = server.ticket();
            let settings = Settings {
                directory: Directory::Own,
                ..Settings::default()
            };
            let failed = ready.clone();
            let server = server.on_notice(move |notice| match notice {
                Notice::Registered => drop(ready.send(Ok(ticket.clone()))),
                Notice::Retrying(error, _) => drop(ready.send(Err(CliError::Embedded(error.to_string())))),
                _ => {}
            });
            // A permanent failure was reported by a notice before.
            match ExecServer::builder(server).settings(settings).build() {
                Ok(server) => drop(server.serve(stopped).await),
                Err(error) => drop(failed.send(Err(error.into()))),
            }
        })
    }
}

/// Starts a role and waits until it is ready or has failed.
fn spawn<T, F>(
    name: &str,
    role: impl FnOnce(mpsc::Sender<Result<T, CliError>>, StopFuture) -> F + Send + 'static,
) -> Result<EmbeddedRole<T>, CliError>
where
    T: Send + 'static,
    F: Future<Output = ()>,
{
    let (ready, outcome) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    let runtime = runtime()?;
    let stopped = Box::pin(async move { drop(stopped.await) });
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || runtime.block_on(role(ready, stopped)))?;
    let ready = outcome
        .recv()
        .unwrap_or_else(|_| Err(CliError::Embedded("it ended at once".into())))?;
    Ok(EmbeddedRole {
        ready,
        stopper: RoleStopper { stop, thread },
    })
}

type StopFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
