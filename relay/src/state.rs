//! The state that the streams of one relay share.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::dial_queue::DialQueue;
use crate::memory_budget::MemoryBudget;
use crate::network::NetworkSlots;
use crate::origin::Origins;
use crate::registry::Registry;
use crate::rejected_connections::RejectedConnections;
use crate::rejection::Rejection;
use crate::sessions::Sessions;
use crate::slots::Slots;
use crate::{AddressRange, Config, Limits, Metrics};

/// The limits, tables and counters of one relay.
pub(crate) struct RelayState {
    pub(crate) limits: Limits,
    pub(crate) authorities: Vec<String>,
    pub(crate) metrics: Arc<Metrics>,
    /// Derives the origins of dials.
    pub(crate) origins: Origins,
    /// The addresses of balancers; empty: there are none.
    pub(crate) balancers: Vec<AddressRange>,
    /// Connections of balancers whose PROXY header has not arrived.
    pub(crate) missing_headers: Slots<()>,
    /// Connections that were closed before they were served.
    rejected: RejectedConnections,
    /// Connections per network.
    pub(crate) connections_from: NetworkSlots,
    /// `Register` streams without a proof, per network.
    pub(crate) unproved: NetworkSlots,
    /// Registrations per network.
    pub(crate) registered_from: NetworkSlots,
    /// Dials without a first frame, per network.
    pub(crate) silent_from: NetworkSlots,
    /// Session slots, and the dials that wait for one.
    pub(crate) dial_queue: Arc<DialQueue>,
    /// The memory that peers may occupy.
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) registry: Registry,
    pub(crate) sessions: Arc<Sessions>,
    draining: watch::Sender<bool>,
}

impl RelayState {
    pub(crate) fn new(config: Config) -> Self {
        let limits = config.limits;
        let budget = MemoryBudget::new(limits.memory);
        let metrics = Arc::new(Metrics::new(budget.clone()));
        Self {
            authorities: config.authorities,
            balancers: config.balancers,
            missing_headers: Slots::new(limits.missing_headers),
            rejected: RejectedConnections::default(),
            origins: Origins::new(),
            connections_from: NetworkSlots::new(limits.connections_per_address),
            unproved: NetworkSlots::new(limits.unproved_per_address),
            registered_from: NetworkSlots::new(limits.registrations_per_address),
            silent_from: NetworkSlots::new(limits.silent_per_address),
            dial_queue: DialQueue::new(&limits),
            registry: Registry::new(&limits, config.allow_servers),
            sessions: Sessions::new(&limits, metrics.clone(), budget.clone()),
            metrics,
            budget,
            limits,
            draining: watch::Sender::new(false),
        }
    }

    /// Counts a connection of `remote` that is closed before it is served.
    pub(crate) fn reject(&self, rejection: &Rejection, remote: IpAddr) {
        self.metrics.connection_rejected();
        self.rejected.add(rejection, remote);
    }

    /// Refuses dials, registrations and health checks from now on. Ends every waiting dial and every registration with
    /// the status of a shutdown.
    pub(crate) fn drain(&self) {
        // Health checks turn first: a balancer then sends the retries of what ends here to other relays.
        self.draining.send_replace(true);
        self.metrics.drain_begun();
        self.registry.close();
    }

    /// Drains, and ends every session with the status of a shutdown.
    pub(crate) fn shut_down(&self) {
        self.drain();
        self.sessions.shut_down();
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Resolves when the relay drains or shuts down.
    pub(crate) async fn drain_begun(&self) {
        // Fails only without a sender, which `self` is.
        let _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }
}
