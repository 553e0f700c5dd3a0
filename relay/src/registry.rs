//! Who is registered, which sessions exist, and the places that are taken. One per relay, shared by every stream.
//!
//! A session id has one entry from `Dial` until the [`Session`] itself is gone, so it cannot be used twice at once. Dropping a
//! session takes the lock of this table: nothing that may hold the last reference is dropped under it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time;
use baton_proto::relay::Decline;
use baton_proto::{ExecServerId, SessionId};
use tokio::sync::oneshot;

use crate::budget::{Account, Budget, Exhausted, Reservation};
use crate::frames::End;
use crate::network::{NetworkSlots, Site};
use crate::origin::Origins;
use crate::places::{Places, ServerPlace};
use crate::register::Registration;
use crate::session::Session;
use crate::splice::Outgoing;
use crate::{AllowedServers, Config, Limits, Metrics};

/// The tables.
pub(crate) struct Registry {
    pub(crate) limits: Limits,
    pub(crate) authorities: Vec<String>,
    pub(crate) metrics: Arc<Metrics>,
    /// What exec-servers are told of a dialler's network.
    pub(crate) origins: Origins,
    /// Exec-servers that may register; `None`: anyone.
    pub(crate) allow_servers: Option<AllowedServers>,
    /// Per network: connections.
    pub(crate) connections_from: NetworkSlots,
    /// Per network: `Register` streams without a proof.
    pub(crate) unproved: NetworkSlots,
    /// Per network: registrations.
    pub(crate) registered_from: NetworkSlots,
    /// Per network: dials without a first frame.
    pub(crate) silent_from: NetworkSlots,
    /// Sessions, and the dials that wait for one.
    pub(crate) places: Arc<Places>,
    /// The memory of them all.
    pub(crate) budget: Arc<Budget>,
    registrations: Mutex<Registrations>,
    sessions: Mutex<HashMap<SessionId, Entry>>,
}

#[derive(Default)]
struct Registrations {
    now: HashMap<ExecServerId, Arc<Registration>>,
    /// Ids that were registered since the relay started, and which came before which: no more than may be registered at once.
    known: HashMap<ExecServerId, usize>,
}

enum Entry {
    Pending(Pending),
    Paired(Weak<Session>),
}

/// A `Dial` that waits for its `Accept`.
pub(crate) struct Pending {
    pub(crate) accept_token: [u8; 32],
    /// Its place at the exec-server.
    pub(crate) place: ServerPlace,
    /// Noise message 1 waits in its queue.
    pub(crate) session: Arc<Session>,
    /// The response body of the `Dial`, handed back when the exec-server has accepted.
    pub(crate) response: Outgoing,
    pub(crate) accepted: oneshot::Sender<Result<Outgoing, Declined>>,
}

/// The exec-server does not take the session now.
pub(crate) struct Declined {
    pub(crate) retry_after: Duration,
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
            allow_servers: config.allow_servers,
            connections_from: NetworkSlots::new(limits.connections_per_address),
            unproved: NetworkSlots::new(limits.unproved_per_address),
            registered_from: NetworkSlots::new(limits.registrations_per_address),
            silent_from: NetworkSlots::new(limits.silent_per_address),
            places: Places::new(&limits),
            budget: Budget::new(limits.memory),
            registrations: Mutex::default(),
            sessions: Mutex::default(),
            limits,
        }
    }

    pub(crate) fn registration(&self, id: ExecServerId) -> Option<Arc<Registration>> {
        lock(&self.registrations).now.get(&id).cloned()
    }

    /// May this exec-server register here?
    pub(crate) fn allows(&self, id: ExecServerId) -> bool {
        self.allow_servers.as_ref().is_none_or(|list| list.contains(id))
    }

    /// Has it been registered before, while there was room to remember it?
    pub(crate) fn knows(&self, id: ExecServerId) -> bool {
        lock(&self.registrations).known.contains_key(&id)
    }

    /// Registers, if the place is free or still held by `replacing`. The exec-server is welcomed before anyone can dial it, so
    /// that `Registered` comes before the first `Incoming`.
    ///
    /// In a full table an exec-server that was here before gets the place of the one that came last: strangers who fill the table
    /// while its connection is down do not lock it out.
    pub(crate) fn register(
        &self,
        registration: &Arc<Registration>,
        replacing: Option<&Arc<Registration>>,
    ) -> Registered {
        let displaced = {
            let registrations = &mut *lock(&self.registrations);
            let Registrations { now, known } = registrations;
            let id = registration.id();
            let mut displaced = None;
            match now.get(&id) {
                Some(holder) if replacing.is_some_and(|old| Arc::ptr_eq(old, holder)) => {}
                Some(holder) => return Registered::Taken(holder.clone()),
                None if now.len() < self.limits.registrations => {}
                None => {
                    let Some(last) = last_comer(now, known, id) else {
                        return Registered::Full;
                    };
                    displaced = now.remove(&last);
                }
            }
            registration.welcome(self.limits.sessions_per_exec_server);
            now.insert(id, registration.clone());
            let place = known.len();
            if place < self.limits.registrations {
                known.entry(id).or_insert(place);
            }
            displaced
        };
        if let Some(displaced) = displaced {
            displaced.displace();
        }
        Registered::Done
    }

    /// Removes this registration, unless another has its place by now.
    pub(crate) fn unregister(&self, registration: &Arc<Registration>) {
        let mut registrations = lock(&self.registrations);
        let holder = registrations.now.get(&registration.id());
        if holder.is_some_and(|holder| Arc::ptr_eq(holder, registration)) {
            registrations.now.remove(&registration.id());
        }
    }

    /// The list of exec-servers has changed: ends the registrations of those that it does not name any more.
    pub(crate) fn enforce_allow_servers(&self) {
        let all: Vec<_> = lock(&self.registrations).now.values().cloned().collect();
        for registration in all {
            if !self.allows(registration.id()) {
                registration.disallow();
            }
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

    /// Refuses the waiting dial that a `Decline` names, if its token fits.
    pub(crate) fn decline(&self, decline: &Decline) {
        let id = SessionId::try_from(&decline.session_id[..]).ok();
        let token = decline.accept_token[..].try_into().ok();
        let Some((id, token)) = id.zip(token) else { return };
        if let Some(pending) = self.accept(id, &token) {
            let retry_after = Duration::from_millis(decline.retry_after_ms.into());
            // A client that has gone meanwhile is told nothing.
            drop(pending.accepted.send(Err(Declined { retry_after })));
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

    /// Reserves memory.
    pub(crate) fn reserve(&self, account: Account, bytes: usize) -> Result<Reservation, Exhausted> {
        let mut reservation = self.budget.reserve(account, 0)?;
        self.grow(&mut reservation, bytes)?;
        Ok(reservation)
    }

    /// Reserves more. Where all of the relay's memory is used up, the session that holds most, of the address that holds most, makes room
    /// for the others.
    pub(crate) fn grow(&self, reservation: &mut Reservation, bytes: usize) -> Result<(), Exhausted> {
        match reservation.grow(bytes) {
            Err(Exhausted::Relay { heaviest }) if heaviest != reservation.site() && self.evict(heaviest) => {
                reservation.force(bytes);
                Ok(())
            }
            grown => grown,
        }
    }

    fn evict(&self, site: Site) -> bool {
        let sessions = self.sessions();
        let of_site = sessions.iter().filter(|session| session.held().site() == site);
        // One that has been cut already gives back what it has.
        let heaviest = of_site
            .filter(|session| !session.is_cut())
            .max_by_key(|session| session.held().reserved());
        heaviest.inspect(|session| session.cut(End::NoMemory)).is_some()
    }

    /// Ends sessions that do not move.
    pub(crate) fn sweep(&self, now: Instant) {
        for session in self.sessions() {
            session.sweep(now);
        }
    }

    /// The sessions that exist. To be dropped without the lock.
    fn sessions(&self) -> Vec<Arc<Session>> {
        let sessions = lock(&self.sessions);
        let paired = sessions.values().filter_map(|entry| match entry {
            Entry::Paired(session) => session.upgrade(),
            Entry::Pending(_) => None,
        });
        paired.collect()
    }

    /// Ends every session and registration with a status that says so.
    pub(crate) fn shut_down(&self) {
        self.places.shut_down();
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
        let registrations: Vec<_> = lock(&self.registrations).now.values().cloned().collect();
        for registration in registrations {
            registration.shut_down();
        }
    }
}

/// The registered exec-server that came last, of those that came after this one, if it was here before.
fn last_comer(
    now: &HashMap<ExecServerId, Arc<Registration>>,
    known: &HashMap<ExecServerId, usize>,
    id: ExecServerId,
) -> Option<ExecServerId> {
    let own = *known.get(&id)?;
    let came = |id: &ExecServerId| known.get(id).copied().unwrap_or(usize::MAX);
    let last = now.keys().max_by_key(|id| came(id))?;
    (came(last) > own).then_some(*last)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
