//! A relay, a server and a channel in one process, over real sockets on loopback.

pub(crate) mod balancer;
pub(crate) mod certificate;
pub(crate) mod in_memory;
pub(crate) mod raw;
pub(crate) mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::{Seed, StaticKey};
use baton_channel::ticket::Ticket;
use baton_channel::{Channel, ChannelConfig, Notice, RelayRoots, Server, ServerConfig};
use baton_noise::RekeyPolicy;
use baton_proto::Epoch;
use baton_relay::{Config, Metrics, Relay};
pub(crate) use baton_support::wait::{eventually, within};
use baton_trace::recorder::{CollectingSink, Recorder};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use service::{Caller, Mounted};

/// A channel that waits at most this long for a session. With zero it makes one attempt.
pub(crate) fn waiting(connect_timeout: Duration) -> ChannelConfig {
    ChannelConfig {
        connect_timeout,
        ..ChannelConfig::default()
    }
}

/// A channel with this rekey policy.
pub(crate) fn renewing(rekey_policy: RekeyPolicy) -> ChannelConfig {
    ChannelConfig {
        rekey_policy,
        ..ChannelConfig::default()
    }
}

/// A running relay.
pub(crate) struct RunningRelay {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RunningRelay {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        Self::start_with(address, Config::default()).await
    }

    pub(crate) async fn start_with(address: SocketAddr, config: Config) -> Self {
        let relay = Relay::bind(address, config).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        Self {
            address: relay.local_addr(),
            metrics: relay.metrics(),
            stop,
            task: tokio::spawn(relay.serve(async move { drop(stopped.await) })),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it gracefully, as an operator does.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        within(self.task).await.unwrap();
    }

    /// Kills it, as a power cut does: every connection closes immediately.
    pub(crate) async fn kill(self) {
        self.task.abort();
        drop(within(self.task).await);
    }
}

/// A running server.
pub(crate) struct RunningServer {
    pub(crate) ticket: Ticket,
    pub(crate) epoch: Epoch,
    pub(crate) notices: mpsc::UnboundedReceiver<Notice>,
    pub(crate) records: Arc<CollectingSink>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), baton_channel::ServerError>>,
}

impl RunningServer {
    /// Starts and waits until it is registered.
    pub(crate) async fn start(relay_url: &str, allow: AllowList, service: Mounted) -> Self {
        Self::run(relay_url, allow, service, ServerConfig::default()).await
    }

    /// Starts a server with these trust roots for the relay.
    pub(crate) async fn start_with(
        relay_url: &str,
        allow: AllowList,
        service: Mounted,
        relay_roots: RelayRoots,
    ) -> Self {
        let config = ServerConfig {
            relay_roots,
            ..ServerConfig::default()
        };
        Self::run(relay_url, allow, service, config).await
    }

    /// Starts a server with this rekey policy.
    pub(crate) async fn with_rekey(
        relay_url: &str,
        allow: AllowList,
        service: Mounted,
        rekey_policy: RekeyPolicy,
    ) -> Self {
        let config = ServerConfig {
            rekey_policy,
            ..ServerConfig::default()
        };
        Self::run(relay_url, allow, service, config).await
    }

    /// Starts a server with this session limit.
    pub(crate) async fn with_sessions(
        relay_url: &str,
        allow: AllowList,
        service: Mounted,
        max_sessions: usize,
    ) -> Self {
        let config = ServerConfig {
            max_sessions,
            ..ServerConfig::default()
        };
        Self::run(relay_url, allow, service, config).await
    }

    async fn run(relay_url: &str, allow: AllowList, service: Mounted, config: ServerConfig) -> Self {
        let records = Arc::new(CollectingSink::default());
        let (notify, notices) = mpsc::unbounded_channel();
        let config = ServerConfig {
            recorder: Recorder::to(records.clone()),
            ..config
        };
        let server = Server::with_config(relay_url, &Seed::generate().unwrap(), allow, config)
            .unwrap()
            // Fails if the test has dropped the receiver.
            .on_notice(move |notice| drop(notify.send(notice)));
        let (stop, stopped) = oneshot::channel::<()>();
        let mut running = Self {
            ticket: server.ticket(),
            epoch: server.epoch(),
            notices,
            records,
            stop,
            task: tokio::spawn(server.serve(service, async move { drop(stopped.await) })),
        };
        running.until(|notice| matches!(notice, Notice::Registered)).await;
        running
    }

    /// Waits for the next notice that `wanted` accepts.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Notice) -> bool) -> Notice {
        within(async {
            loop {
                let notice = self.notices.recv().await.expect("the server runs");
                if wanted(&notice) {
                    return notice;
                }
            }
        })
        .await
    }

    /// Stops it gracefully, as an operator does.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        within(self.task).await.unwrap().unwrap();
    }
}

/// A relay, a server and a channel. The client's key is on the server's allow-list.
pub(crate) struct Stack {
    pub(crate) relay: RunningRelay,
    pub(crate) server: RunningServer,
    seed: Seed,
    /// The call records of the client's channel.
    pub(crate) records: Arc<CollectingSink>,
    pub(crate) channel: Channel,
}

impl Stack {
    pub(crate) async fn start(service: Mounted) -> Self {
        Self::with_trust(service, Trust::Continue).await
    }

    pub(crate) async fn with_trust(service: Mounted, trust: Trust) -> Self {
        let relay = RunningRelay::start().await;
        let seed = Seed::generate().unwrap();
        let key = seed.client_key().unwrap();
        let allow = AllowList::only(*key.public(), "test", trust);
        let server = RunningServer::start(&relay.url(), allow, service).await;
        let records = Arc::new(CollectingSink::default());
        let config = ChannelConfig {
            recorder: Recorder::to(records.clone()),
            ..ChannelConfig::default()
        };
        let channel = Channel::with_config(server.ticket.clone(), key, config);
        Self {
            relay,
            server,
            seed,
            records,
            channel,
        }
    }

    /// The client's key, which the server allows.
    pub(crate) fn key(&self) -> StaticKey {
        self.seed.client_key().unwrap()
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller::new(self.channel.clone())
    }
}

/// Notifies its [`Gone`] when it is dropped.
pub(crate) struct Guard(#[allow(dead_code, reason = "only its drop is observed")] oneshot::Sender<()>);

pub(crate) fn guard() -> (Guard, Gone) {
    let (sender, receiver) = oneshot::channel();
    (Guard(sender), Gone(receiver))
}

/// Waits for the drop of a [`Guard`].
pub(crate) struct Gone(oneshot::Receiver<()>);

impl Gone {
    pub(crate) async fn wait(self) {
        assert!(within(self.0).await.is_err(), "nothing is ever sent");
    }

    pub(crate) fn is_gone(&mut self) -> bool {
        self.0.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }
}

/// The source of type `E` in the error chain of a status.
pub(crate) fn source<E: std::error::Error + 'static>(status: &tonic::Status) -> &E {
    let mut error: &(dyn std::error::Error + 'static) = status;
    loop {
        error = error
            .source()
            .unwrap_or_else(|| panic!("{status:?} has no such source"));
        if let Some(found) = error.downcast_ref() {
            return found;
        }
        // An `Arc` of an error is another type than the error, so `downcast_ref` needs both.
        if let Some(found) = error.downcast_ref::<Arc<E>>() {
            return found;
        }
    }
}
