//! The sessions of a relay, and the dials that wait for one.
//!
//! A session id has one entry from `Dial` until the [`Session`] itself is gone, so it cannot be used twice at once. Dropping a
//! session takes the lock of this table: nothing that may hold the last reference is dropped under it.

mod session;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time;
use baton_proto::relay::Decline;
use baton_proto::{ExecServerId, SessionId};
use tokio::sync::oneshot;

pub(crate) use self::session::{ExecServerSlots, Session};
use crate::dial_queue::ExecServerSlot;
use crate::frames::SessionEnd;
use crate::memory_budget::{MemoryAccount, MemoryBudget, MemoryExhausted, MemoryReservation};
use crate::network::Site;
use crate::{Limits, Metrics};

/// The table.
pub(crate) struct Sessions {
    metrics: Arc<Metrics>,
    budget: Arc<MemoryBudget>,
    /// How long a session may have something to send and not move.
    stalled: Duration,
    entries: Mutex<HashMap<SessionId, SessionEntry>>,
}

enum SessionEntry {
    Pending(PendingDial),
    Paired(Weak<Session>),
}

/// A `Dial` that waits for its `Accept`.
pub(crate) struct PendingDial {
    pub(crate) accept_token: [u8; 32],
    /// Its place at the exec-server.
    pub(crate) exec_server_slot: ExecServerSlot,
    /// Noise message 1 waits in its queue.
    pub(crate) session: Arc<Session>,
    /// Tells the dial that the exec-server has accepted, or has declined.
    pub(crate) accepted: oneshot::Sender<Result<(), DialDeclined>>,
}

/// The exec-server does not take the session now.
pub(crate) struct DialDeclined {
    pub(crate) retry_after: Duration,
}

/// Why an `Accept` does not get a dial. The dial goes on waiting.
pub(crate) enum PendingDialError {
    /// A wrong token, an unknown session, or one that is gone.
    NotWaiting,
    /// The token fits, and the dial is for this other exec-server.
    OtherExecServer(ExecServerId),
}

/// The session id has an entry already.
pub(crate) struct SessionIdInUse;

impl Sessions {
    pub(crate) fn new(limits: &Limits, metrics: Arc<Metrics>, budget: Arc<MemoryBudget>) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            budget,
            stalled: limits.stalled,
            entries: Mutex::default(),
        })
    }

    /// Enters a dial that waits.
    pub(crate) fn wait(&self, pending: PendingDial) -> Result<(), SessionIdInUse> {
        use std::collections::hash_map::Entry as Slot;
        let id = pending.session.id();
        let mut sessions = self.lock();
        if let Slot::Vacant(slot) = sessions.entry(id) {
            slot.insert(SessionEntry::Pending(pending));
            return Ok(());
        }
        drop(sessions);
        drop(pending);
        Err(SessionIdInUse)
    }

    /// Takes the waiting dial that this token belongs to, if it is for `exec_server`; otherwise it goes on waiting.
    pub(crate) fn accept(
        &self,
        id: SessionId,
        token: &[u8; 32],
        exec_server: ExecServerId,
    ) -> Result<PendingDial, PendingDialError> {
        self.take(id, token, |session| match session.exec_server() {
            dialled if dialled == exec_server => Ok(()),
            dialled => Err(PendingDialError::OtherExecServer(dialled)),
        })
    }

    /// Takes the waiting dial that this token belongs to; a wrong token leaves it waiting. Compared in constant time, so
    /// that nobody can find the token byte by byte.
    fn take(
        &self,
        id: SessionId,
        token: &[u8; 32],
        check: impl FnOnce(&Session) -> Result<(), PendingDialError>,
    ) -> Result<PendingDial, PendingDialError> {
        let mut sessions = self.lock();
        let entry = sessions.get_mut(&id).ok_or(PendingDialError::NotWaiting)?;
        let SessionEntry::Pending(pending) = entry else {
            return Err(PendingDialError::NotWaiting);
        };
        constant_time::verify_slices_are_equal(&pending.accept_token, token)
            .map_err(|_| PendingDialError::NotWaiting)?;
        check(&pending.session)?;
        let paired = SessionEntry::Paired(Arc::downgrade(&pending.session));
        match std::mem::replace(entry, paired) {
            SessionEntry::Pending(pending) => Ok(pending),
            SessionEntry::Paired(_) => Err(PendingDialError::NotWaiting),
        }
    }

    /// Refuses the waiting dial that a `Decline` names, if its token fits.
    pub(crate) fn decline(&self, decline: &Decline) {
        let id = SessionId::try_from(&decline.session_id[..]).ok();
        let token = decline.accept_token[..].try_into().ok();
        let Some((id, token)) = id.zip(token) else { return };
        if let Ok(pending) = self.take(id, &token, |_| Ok(())) {
            let retry_after = Duration::from_millis(decline.retry_after_ms.into());
            // A client that has gone meanwhile is told nothing.
            let _ = pending.accepted.send(Err(DialDeclined { retry_after }));
        }
    }

    /// Stops waiting: the dial timed out or its client is gone. Returns what waited, to be dropped by the caller.
    pub(crate) fn give_up(&self, session: &Weak<Session>, id: SessionId) -> Option<PendingDial> {
        let mut sessions = self.lock();
        match sessions.get(&id) {
            // The id may belong to a later dial by now.
            Some(SessionEntry::Pending(pending))
                if std::ptr::eq(Arc::as_ptr(&pending.session), session.as_ptr()) => {}
            _ => return None,
        }
        match sessions.remove(&id) {
            Some(SessionEntry::Pending(pending)) => Some(pending),
            _ => None,
        }
    }

    /// Called by a session's `Drop`: its id is free again. An entry that belongs to another session stays.
    pub(crate) fn forget(&self, session: &Session) {
        let mut sessions = self.lock();
        if let Some(SessionEntry::Paired(paired)) = sessions.get(&session.id())
            && std::ptr::eq(paired.as_ptr(), session)
        {
            sessions.remove(&session.id());
        }
    }

    /// Reserves memory.
    pub(crate) fn reserve(
        &self,
        account: MemoryAccount,
        bytes: usize,
    ) -> Result<MemoryReservation, MemoryExhausted> {
        let mut reservation = self.budget.reserve(account, 0)?;
        self.grow(&mut reservation, bytes)?;
        Ok(reservation)
    }

    /// Reserves more. Where all of the relay's memory is used up, the session that holds most, of the address that holds most, makes room
    /// for the others.
    pub(crate) fn grow(
        &self,
        reservation: &mut MemoryReservation,
        bytes: usize,
    ) -> Result<(), MemoryExhausted> {
        match reservation.grow(bytes) {
            Err(MemoryExhausted::Relay { heaviest })
                if heaviest != reservation.site() && self.evict(heaviest) =>
            {
                reservation.force(bytes);
                Ok(())
            }
            grown => grown,
        }
    }

    fn evict(&self, site: Site) -> bool {
        let sessions = self.all();
        let of_site = sessions.iter().filter(|session| session.held().site() == site);
        // One that has been cut already gives back what it has.
        let heaviest = of_site
            .filter(|session| !session.is_cut())
            .max_by_key(|session| session.held().reserved());
        heaviest
            .inspect(|session| session.cut(SessionEnd::NoMemory))
            .is_some()
    }

    /// Ends sessions that do not move.
    pub(crate) fn sweep(&self, now: Instant) {
        for session in self.all() {
            session.sweep(now);
        }
    }

    /// The sessions that exist. To be dropped without the lock.
    fn all(&self) -> Vec<Arc<Session>> {
        let sessions = self.lock();
        let paired = sessions.values().filter_map(|entry| match entry {
            SessionEntry::Paired(session) => session.upgrade(),
            SessionEntry::Pending(_) => None,
        });
        paired.collect()
    }

    /// Ends every session with a status that says so.
    pub(crate) fn shut_down(&self) {
        let entries = std::mem::take(&mut *self.lock());
        for entry in entries.into_values() {
            match entry {
                SessionEntry::Paired(session) => {
                    if let Some(session) = session.upgrade() {
                        session.end(SessionEnd::ShutDown);
                    }
                }
                // Dropped, it answers its dial.
                SessionEntry::Pending(_) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, SessionEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
