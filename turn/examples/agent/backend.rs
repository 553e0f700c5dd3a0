//! A relay and an exec-server in this process, over real sockets and real Noise. Each role has its own thread and
//! runtime, as it has its own process otherwise.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::JoinHandle;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::{Notice, Server, ServerConfig};
use baton_core_client::{ChannelConfig, Client, Seed, Ticket};
use baton_exec_server::{Directory, ExecServer, Settings, WarmService};
use baton_relay::{Config, Relay};
use baton_trace::recorder::Recorder;
use tokio::sync::oneshot;

use crate::Result;

pub(crate) struct Backend {
    ticket: Ticket,
    client_seed: Seed,
    relay: Role,
    exec_server: Role,
}

impl Backend {
    /// Starts both, and waits until the exec-server is registered.
    pub(crate) fn start(recorder: Recorder) -> Result<Self> {
        let client_seed = Seed::generate()?;
        let key = client_seed.client_key()?;
        let allow = AllowList::only(*key.public(), "agent", Trust::Continue);
        let (address, relay) = start_relay()?;
        let (ticket, exec_server) = start_exec_server(address, allow, recorder)?;
        Ok(Self {
            ticket,
            client_seed,
            relay,
            exec_server,
        })
    }

    /// A client that connects at its first call.
    pub(crate) fn client(&self, recorder: Recorder) -> Result<Client> {
        let config = ChannelConfig {
            recorder,
            ..ChannelConfig::default()
        };
        let key = self.client_seed.client_key()?;
        Ok(Client::with_config(self.ticket.clone(), key, config))
    }

    pub(crate) fn stop(self) {
        self.exec_server.stop();
        self.relay.stop();
    }
}

/// A role on its own thread.
struct Role {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Role {
    fn stop(self) {
        // Both fail if the role has already ended.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

fn start_relay() -> Result<(SocketAddr, Role)> {
    spawn("relay", |ready, stopped| async move {
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

fn start_exec_server(relay: SocketAddr, allow: AllowList, recorder: Recorder) -> Result<(Ticket, Role)> {
    spawn("exec-server", move |ready, stopped| async move {
        let failed = ready.clone();
        let serve = async || -> Result<()> {
            let config = ServerConfig {
                recorder,
                ..ServerConfig::default()
            };
            let server = Server::with_config(&format!("http://{relay}"), &Seed::generate()?, allow, config)?;
            let ticket = server.ticket();
            let server = server.on_notice(move |notice| match notice {
                Notice::Registered => drop(ready.send(Ok(ticket.clone()))),
                Notice::Retrying(error, _) => drop(ready.send(Err(error.to_string().into()))),
                _ => {}
            });
            let settings = Settings {
                directory: Directory::Own,
                ..Settings::default()
            };
            ExecServer::builder(server)
                .settings(settings)
                .service(WarmService::default().into_server())
                .build()?
                .serve(stopped)
                .await?;
            Ok(())
        };
        if let Err(error) = serve().await {
            let _ = failed.send(Err(error));
        }
    })
}

type Stopped = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts a role and waits until it is ready or has failed.
fn spawn<T, F>(
    name: &str,
    role: impl FnOnce(mpsc::Sender<Result<T>>, Stopped) -> F + Send + 'static,
) -> Result<(T, Role)>
where
    T: Send + 'static,
    F: Future<Output = ()>,
{
    let (ready, outcome) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stopped = Box::pin(async move { drop(stopped.await) });
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || runtime.block_on(role(ready, stopped)))?;
    let ready = outcome
        .recv()
        .unwrap_or_else(|_| Err(format!("the embedded {name} ended at once").into()))?;
    Ok((ready, Role { stop, thread }))
}
