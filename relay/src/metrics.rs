//! Counters of a relay, read as one [`MetricsSnapshot`]: atomics, and the total of the memory budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::direction::Direction;
use crate::memory_budget::MemoryBudget;

/// Why a request was refused; indexes [`MetricsSnapshot::refused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// Missing or malformed headers or messages.
    Malformed,
    /// The exec-server is not registered here: a `Dial` or a `Here`
    /// ([`MetricsSnapshot::here_not_registered`]).
    NotRegistered,
    /// A wrong dial token, accept token or signature.
    NotAuthorised,
    /// A session id or a registration that is in use.
    Taken,
    /// A limit was reached.
    Limit,
    /// The exec-server did not accept in time, or this relay drains or shuts down.
    NotAccepted,
    /// A dial without its first frame in time, a `Here` without its message, or an exec-server that answered no ping.
    Silent,
    /// Another protocol version, or an authority that is not this relay's.
    Precondition,
}

impl RefusalReason {
    const COUNT: usize = 8;

    /// Every reason, in the order of [`MetricsSnapshot::refused`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Malformed,
        Self::NotRegistered,
        Self::NotAuthorised,
        Self::Taken,
        Self::Limit,
        Self::NotAccepted,
        Self::Silent,
        Self::Precondition,
    ];

    /// A word for it, in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotRegistered => "not_registered",
            Self::NotAuthorised => "not_authorised",
            Self::Taken => "taken",
            Self::Limit => "limit",
            Self::NotAccepted => "not_accepted",
            Self::Silent => "silent",
            Self::Precondition => "precondition",
        }
    }
}

/// Counters of one relay.
#[derive(Debug)]
pub struct Metrics {
    budget: Arc<MemoryBudget>,
    draining: AtomicBool,
    connections_rejected: AtomicU64,
    registrations: AtomicU64,
    registrations_unanswered: AtomicU64,
    here_registered: AtomicU64,
    here_not_registered: AtomicU64,
    sessions_open: AtomicU64,
    sessions_total: AtomicU64,
    sessions_reset: AtomicU64,
    refused: [AtomicU64; RefusalReason::COUNT],
    frames: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
}

/// The values of the counters. They are read one after another, not atomically together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetricsSnapshot {
    /// The relay drains or shuts down: it serves its open sessions only.
    pub draining: bool,
    /// Connections that were closed before they were served: beyond a limit, past the balancer, or without a valid
    /// PROXY header.
    pub connections_rejected: u64,
    /// Exec-servers registered now.
    pub registrations: u64,
    /// Registrations that the relay ended because the exec-server answered no ping until the next one was due. Many at
    /// once: the network between relay and exec-servers, or the balancer, was interrupted.
    pub registrations_unanswered: u64,
    /// `Here` of registered exec-servers. Each asks every 10 s, and after each registration.
    pub here_registered: u64,
    /// `Here` of other exec-servers. An exec-server that hears it 9 s after its registration or later registers anew.
    /// Some after each change of a fleet are usual; a steady number shows that the balancer sends `Here` and `Register`
    /// of one exec-server to different relays, or that a stranger asks.
    pub here_not_registered: u64,
    /// Sessions spliced now.
    pub sessions_open: u64,
    /// Sessions spliced since the relay started.
    pub sessions_total: u64,
    /// Sessions that the relay ended because a side broke the framing.
    pub sessions_reset: u64,
    /// Bytes of [`Limits::memory`](crate::Limits::memory) that are reserved for peers now. More than they occupy.
    pub memory_reserved: u64,
    /// Refusals by reason, in the order of [`RefusalReason::ALL`].
    pub refused: [u64; RefusalReason::COUNT],
    /// From clients to exec-servers.
    pub to_exec_server: DirectionTraffic,
    /// From exec-servers to clients.
    pub to_client: DirectionTraffic,
}

/// The frames forwarded in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectionTraffic {
    /// Frames forwarded.
    pub frames: u64,
    /// Their encoded bytes as received, without gRPC prefixes and stamps.
    pub bytes: u64,
}

impl MetricsSnapshot {
    /// Refusals for one reason.
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refused[reason as usize]
    }
}

impl Metrics {
    pub(crate) fn new(budget: Arc<MemoryBudget>) -> Self {
        Self {
            budget,
            draining: AtomicBool::default(),
            connections_rejected: AtomicU64::default(),
            registrations: AtomicU64::default(),
            registrations_unanswered: AtomicU64::default(),
            here_registered: AtomicU64::default(),
            here_not_registered: AtomicU64::default(),
            sessions_open: AtomicU64::default(),
            sessions_total: AtomicU64::default(),
            sessions_reset: AtomicU64::default(),
            refused: Default::default(),
            frames: Default::default(),
            bytes: Default::default(),
        }
    }

    /// Reads every counter.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let traffic = |direction: Direction| DirectionTraffic {
            frames: self.frames[direction as usize].load(Relaxed),
            bytes: self.bytes[direction as usize].load(Relaxed),
        };
        MetricsSnapshot {
            draining: self.draining.load(Relaxed),
            connections_rejected: self.connections_rejected.load(Relaxed),
            registrations: self.registrations.load(Relaxed),
            registrations_unanswered: self.registrations_unanswered.load(Relaxed),
            here_registered: self.here_registered.load(Relaxed),
            here_not_registered: self.here_not_registered.load(Relaxed),
            sessions_open: self.sessions_open.load(Relaxed),
            sessions_total: self.sessions_total.load(Relaxed),
            sessions_reset: self.sessions_reset.load(Relaxed),
            memory_reserved: self.budget.used() as u64,
            refused: std::array::from_fn(|i| self.refused[i].load(Relaxed)),
            to_exec_server: traffic(Direction::ToExecServer),
            to_client: traffic(Direction::ToClient),
        }
    }

    pub(crate) fn drain_begun(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(crate) fn connection_rejected(&self) {
        self.connections_rejected.fetch_add(1, Relaxed);
    }

    pub(crate) fn registered(&self) {
        self.registrations.fetch_add(1, Relaxed);
    }

    pub(crate) fn unregistered(&self) {
        self.registrations.fetch_sub(1, Relaxed);
    }

    pub(crate) fn registration_unanswered(&self) {
        self.registrations_unanswered.fetch_add(1, Relaxed);
    }

    pub(crate) fn here(&self, is_registered: bool) {
        let answers = match is_registered {
            true => &self.here_registered,
            false => &self.here_not_registered,
        };
        answers.fetch_add(1, Relaxed);
    }

    pub(crate) fn sessions_open(&self) -> u64 {
        self.sessions_open.load(Relaxed)
    }

    pub(crate) fn session_opened(&self) {
        self.sessions_open.fetch_add(1, Relaxed);
        self.sessions_total.fetch_add(1, Relaxed);
    }

    pub(crate) fn session_closed(&self) {
        self.sessions_open.fetch_sub(1, Relaxed);
    }

    pub(crate) fn session_reset(&self) {
        self.sessions_reset.fetch_add(1, Relaxed);
    }

    pub(crate) fn refuse(&self, reason: RefusalReason) {
        self.refused[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn forwarded(&self, direction: Direction, frames: u64, bytes: u64) {
        self.frames[direction as usize].fetch_add(frames, Relaxed);
        self.bytes[direction as usize].fetch_add(bytes, Relaxed);
    }
}
