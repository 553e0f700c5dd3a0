//! The sessions of a relay, and the dials that wait for their `Accept`.
//!
//! A session id has one entry from `Dial` until the [`Session`] is dropped, so two sessions never share an id. Dropping
//! a session takes the lock of this table: a value that may hold the last reference is never dropped under the lock.

mod session;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time;
use baton_proto::relay::Decline;
use baton_proto::{ExecServerId, SessionId};
use tokio::sync::{Notify, oneshot};

pub(crate) use self::session::{ExecServerSlots, Session};
use crate::dial_queue::ExecServerSlot;
use crate::frames::SessionEnd;
use crate::memory_budget::{MemoryAccount, MemoryBudget, MemoryExhausted, MemoryReservation};
use crate::network::Site;
use crate::{Limits, Metrics};

/// The table of sessions and waiting dials.
pub(crate) struct Sessions {
    metrics: Arc<Metrics>,
    budget: Arc<MemoryBudget>,
    /// The time after which a session with data to send and without progress ends.
    stalled: Duration,
    /// Notified when a session that was open has ended.
    closed: Notify,
    entries: Mutex<HashMap<SessionId, SessionEntry>>,
}

enum SessionEntry {
    Pending(PendingDial),
    Paired(Weak<Session>),
}

/// A `Dial` that waits for its `Accept`.
pub(crate) struct PendingDial {
    pub(crate) accept_token: [u8; 32],
    pub(crate) exec_server_slot: ExecServerSlot,
    /// Its queue holds Noise message 1.
    pub(crate) session: Arc<Session>,
    /// Notifies the dial's task that the exec-server has accepted or declined.
    pub(crate) accepted: oneshot::Sender<Result<(), DialDeclined>>,
}

/// The exec-server declined the dial.
pub(crate) struct DialDeclined {
    pub(crate) retry_after: Duration,
}

/// Why an `Accept` or a `Decline` matches no waiting dial. The dial continues to wait.
pub(crate) enum PendingDialError {
    /// A wrong token, an unknown session, or one that has ended.
    NotWaiting,
    /// The token is right, but the dial is for this other exec-server.
    OtherExecServer(ExecServerId),
}

/// The session id already has an entry.
pub(crate) struct SessionIdInUse;

impl Sessions {
    pub(crate) fn new(limits: &Limits, metrics: Arc<Metrics>, budget: Arc<MemoryBudget>) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            budget,
            stalled: limits.stalled,
            closed: Notify::new(),
            entries: Mutex::default(),
        })
    }

    /// Adds a waiting dial.
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

    /// Takes the waiting dial with this token, if it is for `exec_server`; otherwise the dial continues to wait.
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

    /// Takes the waiting dial with this token; a wrong token leaves it waiting. Compares in constant time, so that
    /// timing does not reveal the token byte by byte.
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

    /// Refuses the waiting dial that a `Decline` names, if its token is right.
    pub(crate) fn decline(&self, decline: &Decline) {
        let id = SessionId::try_from(&decline.session_id[..]).ok();
        let token = decline.accept_token[..].try_into().ok();
        let Some((id, token)) = id.zip(token) else { return };
        if let Ok(pending) = self.take(id, &token, |_| Ok(())) {
            let retry_after = Duration::from_millis(decline.retry_after_ms.into());
            // Fails if the client has disconnected.
            let _ = pending.accepted.send(Err(DialDeclined { retry_after }));
        }
    }

    /// Removes a dial that timed out or whose client disconnected. Returns it, for the caller to drop.
    pub(crate) fn give_up(&self, session: &Weak<Session>, id: SessionId) -> Option<PendingDial> {
        let mut sessions = self.lock();
        match sessions.get(&id) {
            // A later dial may use the id now.
            Some(SessionEntry::Pending(pending))
                if std::ptr::eq(Arc::as_ptr(&pending.session), session.as_ptr()) => {}
            _ => return None,
        }
        match sessions.remove(&id) {
            Some(SessionEntry::Pending(pending)) => Some(pending),
            _ => None,
        }
    }

    /// Called when a session is dropped: frees its id, unless the entry belongs to another session.
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

    /// Reserves more. If the relay's whole memory is used up, cuts the largest session of the address that occupies
    /// most.
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
        // A session that was cut before already releases its memory.
        let heaviest = of_site
            .filter(|session| !session.is_cut())
            .max_by_key(|session| session.held().allowed());
        heaviest
            .inspect(|session| session.cut(SessionEnd::NoMemory))
            .is_some()
    }

    /// Ends sessions without progress.
    pub(crate) fn sweep(&self, now: Instant) {
        for session in self.all() {
            session.sweep(now);
        }
    }

    /// The paired sessions. The caller drops them without the lock.
    fn all(&self) -> Vec<Arc<Session>> {
        let sessions = self.lock();
        let paired = sessions.values().filter_map(|entry| match entry {
            SessionEntry::Paired(session) => session.upgrade(),
            SessionEntry::Pending(_) => None,
        });
        paired.collect()
    }

    /// Resolves when no session is open. Cancellation safe.
    pub(crate) async fn all_closed(&self) {
        loop {
            let closed = self.closed.notified();
            if self.metrics.sessions_open() == 0 {
                return;
            }
            closed.await;
        }
    }

    /// Ends every session and waiting dial with the status of a shutdown.
    pub(crate) fn shut_down(&self) {
        let entries = std::mem::take(&mut *self.lock());
        for entry in entries.into_values() {
            match entry {
                SessionEntry::Paired(session) => {
                    if let Some(session) = session.upgrade() {
                        session.end(SessionEnd::ShutDown);
                    }
                }
                // Dropping it answers its dial.
                SessionEntry::Pending(_) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, SessionEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::network::Network;
    use crate::slots::Slots;

    const MIB: usize = 1024 * 1024;

    fn account(host: u8) -> MemoryAccount {
        MemoryAccount::of(Network::of([192, 0, 2, host].into()), None)
    }

    /// Both sessions are in the table that is searched while one of them reserves memory.
    #[test]
    fn a_session_that_needs_memory_goes_on_at_the_cost_of_the_address_that_has_most() {
        let (sender, outcome) = mpsc::channel();
        std::thread::spawn(move || {
            let budget = MemoryBudget::new(8 * MIB);
            let table = Sessions::new(
                &Limits::default(),
                Arc::new(Metrics::new(budget.clone())),
                budget.clone(),
            );
            let slots = Slots::new(2);
            let open = |host| {
                let id = SessionId([host; 16]);
                let (slot, memory) = (slots.take(()).unwrap(), budget.reserve(account(host), 80 * 1024));
                let server = ExecServerId([1; 16]);
                let session = Session::new(id, server, table.clone(), slot, memory.unwrap());
                let entry = SessionEntry::Paired(Arc::downgrade(&session));
                table.lock().insert(id, entry);
                session
            };
            let (heavy, light) = (open(1), open(2));
            heavy.hold(MIB + MIB / 2).unwrap();
            let _others = budget.reserve(account(3), 3 * MIB).unwrap();
            let held = light.hold(MIB);
            let _ = sender.send((held, heavy.is_cut(), light.is_cut()));
        });
        let outcome = outcome.recv_timeout(Duration::from_secs(60));
        let (held, heavy_is_cut, light_is_cut) = outcome.expect("it waits for no lock that it holds");
        held.unwrap();
        assert!(heavy_is_cut && !light_is_cut);
    }
}
