//! Who is registered, which sessions exist, and the places that are taken. One per relay, shared by every stream.
//!
//! A session id has one entry from `Dial` until the [`Session`] itself is gone, so it cannot be used twice at once. Dropping a
//! session takes the lock of this table: nothing that may hold the last reference is dropped under it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aws_lc_rs::constant_time;
use baton_proto::{ExecServerId, SessionId};
use hyper::body::Incoming as Body;
use tokio::sync::oneshot;

use crate::origin::Origins;
use crate::register::Registration;
use crate::session::Session;
use crate::slots::{Slot, Slots};
use crate::splice::{End, Outgoing};
use crate::{Config, Limits, Metrics};

/// The tables.
pub(crate) struct Registry {
    pub(crate) limits: Limits,
    pub(crate) authorities: Vec<String>,
    pub(crate) metrics: Arc<Metrics>,
    /// What exec-servers are told of a dialler's network.
    pub(crate) origins: Origins,
    /// Per address: connections.
    pub(crate) connections_from: Slots<IpAddr>,
    /// Per address: `Register` streams without a proof.
    pub(crate) unproved: Slots<IpAddr>,
    /// Per address: registrations.
    pub(crate) registered_from: Slots<IpAddr>,
    /// Per address: sessions, by the side that dialled.
    pub(crate) sessions_from: Slots<IpAddr>,
    /// All sessions.
    pub(crate) sessions_total: Slots<()>,
    /// Sessions per exec-server; by id, so that a new registration inherits what the last one left open.
    pub(crate) sessions_of: Slots<ExecServerId>,
    /// Waiting dials per exec-server.
    pub(crate) pending_for: Slots<ExecServerId>,
    /// Waiting dials per address.
    pub(crate) pending_from: Slots<IpAddr>,
    registrations: Mutex<HashMap<ExecServerId, Arc<Registration>>>,
    sessions: Mutex<HashMap<SessionId, Entry>>,
}

enum Entry {
    Pending(Pending),
    Paired(Weak<Session>),
}

/// A `Dial` that waits for its `Accept`.
pub(crate) struct Pending {
    pub(crate) accept_token: [u8; 32],
    /// Its place at the exec-server.
    pub(crate) place: Slot<ExecServerId>,
    pub(crate) session: Arc<Session>,
    /// The request body of the `Dial`; Noise message 1 waits in it.
    pub(crate) body: Body,
    /// The response body of the `Dial`, handed back when the exec-server has accepted.
    pub(crate) response: Outgoing,
    pub(crate) accepted: oneshot::Sender<Outgoing>,
}

/// The session id has an entry already.
pub(crate) struct InUse;

/// What became of an attempt to register.
pub(crate) enum Registered {
    Done,
    /// This one holds the place.
    Taken(Arc<Registration>),
    /// The table is full.
    Full,
}

impl Registry {
    pub(crate) fn new(config: Config) -> Self {
        let limits = config.limits;
        Self {
            authorities: config.authorities,
            metrics: Arc::default(),
            origins: Origins::new(),
            connections_from: Slots::new(limits.connections_per_address),
            unproved: Slots::new(limits.unproved_per_address),
            registered_from: Slots::new(limits.registrations_per_address),
            sessions_from: Slots::new(limits.sessions_per_address),
            sessions_total: Slots::new(limits.sessions),
            sessions_of: Slots::new(limits.sessions_per_exec_server),
            pending_for: Slots::new(limits.pending_per_exec_server),
            pending_from: Slots::new(limits.pending_per_address),
            registrations: Mutex::default(),
            sessions: Mutex::default(),
            limits,
        }
    }

    pub(crate) fn registration(&self, id: ExecServerId) -> Option<Arc<Registration>> {
        lock(&self.registrations).get(&id).cloned()
    }

    /// Registers, if the place is free or still held by `replacing`. The exec-server is welcomed before anyone can dial it, so
    /// that `Registered` comes before the first `Incoming`.
    pub(crate) fn register(
        &self,
        registration: &Arc<Registration>,
        replacing: Option<&Arc<Registration>>,
    ) -> Registered {
        let mut registrations = lock(&self.registrations);
        let free = registrations.len() < self.limits.registrations;
        match registrations.get_mut(&registration.id()) {
            Some(holder) if replacing.is_some_and(|old| Arc::ptr_eq(old, holder)) => {
                registration.welcome(self.limits.sessions_per_exec_server);
                *holder = registration.clone();
            }
            Some(holder) => return Registered::Taken(holder.clone()),
            None if free => {
                registration.welcome(self.limits.sessions_per_exec_server);
                registrations.insert(registration.id(), registration.clone());
            }
            None => return Registered::Full,
        }
        Registered::Done
    }

    /// Removes this registration, unless another has its place by now.
    pub(crate) fn unregister(&self, registration: &Arc<Registration>) {
        let mut registrations = lock(&self.registrations);
        if registrations
            .get(&registration.id())
            .is_some_and(|holder| Arc::ptr_eq(holder, registration))
        {
            registrations.remove(&registration.id());
        }
    }

    /// Enters a dial that waits.
    pub(crate) fn wait(&self, pending: Pending) -> Result<(), InUse> {
        use std::collections::hash_map::Entry as Slot;
        let id = pending.session.id();
        let mut sessions = lock(&self.sessions);
        if let Slot::Vacant(slot) = sessions.entry(id) {
            slot.insert(Entry::Pending(pending));
            return Ok(());
        }
        drop(sessions);
        drop(pending);
        Err(InUse)
    }

    /// Takes the waiting dial that this token belongs to; a wrong token leaves it waiting. Compared in constant time, so
    /// that nobody can find the token byte by byte.
    pub(crate) fn accept(&self, id: SessionId, token: &[u8; 32]) -> Option<Pending> {
        let mut sessions = lock(&self.sessions);
        let entry = sessions.get_mut(&id)?;
        let Entry::Pending(pending) = entry else {
            return None;
        };
        constant_time::verify_slices_are_equal(&pending.accept_token, token).ok()?;
        let paired = Entry::Paired(Arc::downgrade(&pending.session));
        match std::mem::replace(entry, paired) {
            Entry::Pending(pending) => Some(pending),
            Entry::Paired(_) => None,
        }
    }

    /// Stops waiting: the dial timed out or its client is gone. Returns what waited, to be dropped by the caller.
    pub(crate) fn give_up(&self, session: &Weak<Session>, id: SessionId) -> Option<Pending> {
        let mut sessions = lock(&self.sessions);
        match sessions.get(&id) {
            // The id may belong to a later dial by now.
            Some(Entry::Pending(pending))
                if std::ptr::eq(Arc::as_ptr(&pending.session), session.as_ptr()) => {}
            _ => return None,
        }
        match sessions.remove(&id) {
            Some(Entry::Pending(pending)) => Some(pending),
            _ => None,
        }
    }

    /// Called by a session's `Drop`: its id is free again. An entry that belongs to another session stays.
    pub(crate) fn forget_session(&self, session: &Session) {
        let mut sessions = lock(&self.sessions);
        if let Some(Entry::Paired(paired)) = sessions.get(&session.id())
            && std::ptr::eq(paired.as_ptr(), session)
        {
            sessions.remove(&session.id());
        }
    }

    /// Ends every session and registration with a status that says so.
    pub(crate) fn shut_down(&self) {
        let sessions = std::mem::take(&mut *lock(&self.sessions));
        for entry in sessions.into_values() {
            match entry {
                Entry::Paired(session) => {
                    if let Some(session) = session.upgrade() {
                        session.end(End::ShutDown);
                    }
                }
                // Dropped, it answers its dial.
                Entry::Pending(_) => {}
            }
        }
        let registrations: Vec<_> = lock(&self.registrations).values().cloned().collect();
        for registration in registrations {
            registration.shut_down();
        }
    }
}

/// What limits per address count by: one IPv4 address, or the /64 that an IPv6 host draws its addresses from.
pub(crate) fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
        v4 => v4,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
