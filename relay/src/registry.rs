//! The registered exec-servers, and the check whether one may register.

mod registration;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_proto::ExecServerId;

pub(crate) use self::registration::{Outbound, ProvenIdentity, Registration, RegistrationEnd, SendError};
use crate::{AllowedServers, Limits};

/// The table of registrations, and its limits.
pub(crate) struct Registry {
    /// Exec-servers that may register; `None`: any.
    pub(crate) allow_servers: Option<AllowedServers>,
    /// The maximum number of registrations.
    most: usize,
    /// The session limit that `Registered` announces to an exec-server.
    sessions_per_exec_server: usize,
    /// The interval of pings that `Registered` announces.
    ping_interval: Duration,
    registrations: Mutex<RegistrationTable>,
}

#[derive(Default)]
struct RegistrationTable {
    /// The relay drains or shuts down.
    is_closed: bool,
    now: HashMap<ExecServerId, Arc<Registration>>,
    /// Ids that were registered since the relay started, with the order in which they first registered. At most as many
    /// as may be registered at once.
    known: HashMap<ExecServerId, usize>,
}

/// The result of an attempt to register.
pub(crate) enum RegisterOutcome {
    Done,
    /// This registration holds the slot.
    Taken(Arc<Registration>),
    /// The table is full.
    Full,
    /// The relay drains or shuts down.
    Closed,
}

impl Registry {
    pub(crate) fn new(limits: &Limits, allow_servers: Option<AllowedServers>) -> Self {
        Self {
            allow_servers,
            most: limits.registrations,
            sessions_per_exec_server: limits.sessions_per_exec_server,
            ping_interval: limits.ping_interval,
            registrations: Mutex::default(),
        }
    }

    pub(crate) fn registration(&self, id: ExecServerId) -> Option<Arc<Registration>> {
        self.lock().now.get(&id).cloned()
    }

    /// Whether this exec-server may register here.
    pub(crate) fn allows(&self, id: ExecServerId) -> bool {
        self.allow_servers.as_ref().is_none_or(|list| list.contains(id))
    }

    /// Whether this exec-server was registered before, as far as the bounded table remembers.
    pub(crate) fn knows(&self, id: ExecServerId) -> bool {
        self.lock().known.contains_key(&id)
    }

    /// Registers, if the slot is free or still held by `replacing`. Sends `Registered` before a client can dial, so
    /// that it precedes the first `Incoming`.
    ///
    /// In a full table, an exec-server that was registered before displaces the one that first registered last. So
    /// other exec-servers that fill the table while its connection is down do not lock it out.
    pub(crate) fn register(
        &self,
        registration: &Arc<Registration>,
        replacing: Option<&Arc<Registration>>,
    ) -> RegisterOutcome {
        let displaced = {
            let registrations = &mut *self.lock();
            let RegistrationTable {
                is_closed,
                now,
                known,
            } = registrations;
            if *is_closed {
                return RegisterOutcome::Closed;
            }
            let id = registration.id();
            let mut displaced = None;
            match now.get(&id) {
                Some(holder) if replacing.is_some_and(|old| Arc::ptr_eq(old, holder)) => {}
                Some(holder) => return RegisterOutcome::Taken(holder.clone()),
                None if now.len() < self.most => {}
                None => {
                    let Some(last) = last_comer(now, known, id) else {
                        return RegisterOutcome::Full;
                    };
                    displaced = now.remove(&last);
                }
            }
            registration.welcome(self.sessions_per_exec_server, self.ping_interval);
            now.insert(id, registration.clone());
            let place = known.len();
            if place < self.most {
                known.entry(id).or_insert(place);
            }
            displaced
        };
        if let Some(displaced) = displaced {
            displaced.end(RegistrationEnd::Displaced);
        }
        RegisterOutcome::Done
    }

    /// Removes this registration, unless another one has replaced it.
    pub(crate) fn unregister(&self, registration: &Arc<Registration>) {
        let mut registrations = self.lock();
        let holder = registrations.now.get(&registration.id());
        if holder.is_some_and(|holder| Arc::ptr_eq(holder, registration)) {
            registrations.now.remove(&registration.id());
        }
    }

    /// Ends the registrations of exec-servers that the list no longer names.
    pub(crate) fn enforce_allow_servers(&self) {
        let all: Vec<_> = self.lock().now.values().cloned().collect();
        for registration in all {
            if !self.allows(registration.id()) {
                registration.end(RegistrationEnd::NotAllowed);
            }
        }
    }

    /// Ends every registration with the status of a shutdown, and refuses further ones.
    pub(crate) fn close(&self) {
        let registrations: Vec<_> = {
            let mut table = self.lock();
            table.is_closed = true;
            table.now.values().cloned().collect()
        };
        for registration in registrations {
            registration.end(RegistrationEnd::ShutDown);
        }
    }

    fn lock(&self) -> MutexGuard<'_, RegistrationTable> {
        self.registrations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The exec-server that first registered last, if `id` first registered before it.
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
