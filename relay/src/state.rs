//! Everything that the streams of one relay share.

use std::sync::Arc;

use crate::dial_queue::DialQueue;
use crate::memory_budget::MemoryBudget;
use crate::network::NetworkSlots;
use crate::origin::Origins;
use crate::registry::Registry;
use crate::sessions::Sessions;
use crate::{Config, Limits, Metrics};

/// One per relay.
pub(crate) struct RelayState {
    pub(crate) limits: Limits,
    pub(crate) authorities: Vec<String>,
    pub(crate) metrics: Arc<Metrics>,
    /// What exec-servers are told of a dialler's network.
    pub(crate) origins: Origins,
    /// Per network: connections.
    pub(crate) connections_from: NetworkSlots,
    /// Per network: `Register` streams without a proof.
    pub(crate) unproved: NetworkSlots,
    /// Per network: registrations.
    pub(crate) registered_from: NetworkSlots,
    /// Per network: dials without a first frame.
    pub(crate) silent_from: NetworkSlots,
    /// Sessions, and the dials that wait for one.
    pub(crate) dial_queue: Arc<DialQueue>,
    /// The memory of them all.
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) registry: Registry,
    pub(crate) sessions: Arc<Sessions>,
}

impl RelayState {
    pub(crate) fn new(config: Config) -> Self {
        let limits = config.limits;
        let metrics = Arc::<Metrics>::default();
        let budget = MemoryBudget::new(limits.memory);
        Self {
            authorities: config.authorities,
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
        }
    }

    /// Ends every session and registration with a status that says so.
    pub(crate) fn shut_down(&self) {
        self.dial_queue.shut_down();
        self.sessions.shut_down();
        self.registry.shut_down();
    }
}
