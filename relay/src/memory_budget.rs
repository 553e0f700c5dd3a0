//! One memory budget for the whole relay, divided by address and by exec-server.
//!
//! Memory that a peer can make the relay hold is reserved here before it is allocated or at that moment: connections,
//! sessions, long incoming frames, and the bytes of sessions whose reader is slow. No address and no exec-server gets
//! more than half.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_proto::ExecServerId;

use crate::network::{Network, Site};

/// The bytes that peers may occupy in total, and the bytes that they occupy now.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    bytes: usize,
    used: Mutex<UsedMemory>,
}

#[derive(Debug, Default)]
struct UsedMemory {
    total: usize,
    sites: HashMap<Site, usize>,
    exec_servers: HashMap<ExecServerId, usize>,
}

/// The address and the exec-server to whose shares a reservation counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryAccount {
    pub(crate) site: Site,
    pub(crate) exec_server: Option<ExecServerId>,
}

/// Reserved memory, released on drop.
#[derive(Debug)]
pub(crate) struct MemoryReservation {
    budget: Arc<MemoryBudget>,
    account: MemoryAccount,
    bytes: usize,
}

/// The share that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryExhausted {
    /// The whole budget; `heaviest` is the address that occupies most of it.
    Relay {
        heaviest: Site,
    },
    Site,
    ExecServer,
}

impl MemoryBudget {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            used: Mutex::default(),
        })
    }

    /// Reserves memory until the reservation is dropped.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        account: MemoryAccount,
        bytes: usize,
    ) -> Result<MemoryReservation, MemoryExhausted> {
        let mut reservation = self.empty(account);
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Reserves memory that its holder can do without, of three quarters of the shares: the last quarter is left to
    /// those that would be refused.
    pub(crate) fn reserve_optional(
        self: &Arc<Self>,
        account: MemoryAccount,
        bytes: usize,
    ) -> Option<MemoryReservation> {
        let mut reservation = self.empty(account);
        reservation.grow_within(bytes, self.share() / 4 * 3).ok()?;
        Some(reservation)
    }

    fn empty(self: &Arc<Self>, account: MemoryAccount) -> MemoryReservation {
        MemoryReservation {
            budget: self.clone(),
            account,
            bytes: 0,
        }
    }

    /// What an address and an exec-server may occupy.
    fn share(&self) -> usize {
        self.bytes / 2
    }

    /// The bytes that are reserved now.
    pub(crate) fn used(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, UsedMemory> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryReservation {
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn site(&self) -> Site {
        self.account.site
    }

    /// Reserves more, if the shares of its account and the budget allow it.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), MemoryExhausted> {
        self.grow_within(bytes, self.budget.share())
    }

    fn grow_within(&mut self, bytes: usize, share: usize) -> Result<(), MemoryExhausted> {
        let used = &mut *self.budget.lock();
        let of = |used: Option<&usize>| used.copied().unwrap_or(0);
        if of(used.sites.get(&self.account.site)) + bytes > share {
            return Err(MemoryExhausted::Site);
        }
        if let Some(exec_server) = self.account.exec_server
            && of(used.exec_servers.get(&exec_server)) + bytes > share
        {
            return Err(MemoryExhausted::ExecServer);
        }
        if used.total + bytes > self.budget.bytes {
            let most = used.sites.iter().max_by_key(|(_, bytes)| **bytes);
            let heaviest = most.map_or(self.account.site, |(site, _)| *site);
            return Err(MemoryExhausted::Relay { heaviest });
        }
        used.add(self.account, bytes);
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves more without a check. For a caller that has just cut a session whose memory will be released.
    pub(crate) fn force(&mut self, bytes: usize) {
        self.budget.lock().add(self.account, bytes);
        self.bytes += bytes;
    }

    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.budget.lock().subtract(self.account, bytes);
        self.bytes -= bytes;
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

impl UsedMemory {
    fn add(&mut self, account: MemoryAccount, bytes: usize) {
        self.total += bytes;
        *self.sites.entry(account.site).or_default() += bytes;
        if let Some(exec_server) = account.exec_server {
            *self.exec_servers.entry(exec_server).or_default() += bytes;
        }
    }

    fn subtract(&mut self, account: MemoryAccount, bytes: usize) {
        self.total -= bytes;
        subtract(&mut self.sites, account.site, bytes);
        if let Some(exec_server) = account.exec_server {
            subtract(&mut self.exec_servers, exec_server, bytes);
        }
    }
}

/// Removes a key whose count reaches zero, so that the map holds only keys that occupy memory.
fn subtract<K: Hash + Eq>(used: &mut HashMap<K, usize>, key: K, bytes: usize) {
    if let Some(held) = used.get_mut(&key) {
        *held -= bytes;
        if *held == 0 {
            used.remove(&key);
        }
    }
}

impl MemoryAccount {
    pub(crate) fn of(network: Network, exec_server: Option<ExecServerId>) -> Self {
        Self {
            site: network.site(),
            exec_server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(host: u8, server: u8) -> MemoryAccount {
        MemoryAccount::of(
            Network::of([192, 0, 2, host].into()),
            Some(ExecServerId([server; 16])),
        )
    }

    #[test]
    fn what_its_holder_can_do_without_leaves_a_quarter_of_the_share() {
        let budget = MemoryBudget::new(80);
        let first = budget.reserve_optional(account(1, 1), 30).unwrap();
        assert!(budget.reserve_optional(account(1, 1), 1).is_none());
        assert!(budget.reserve_optional(account(2, 1), 1).is_none());
        let rest = budget.reserve(account(1, 1), 10).unwrap();
        assert_eq!(budget.used(), 40);
        drop((first, rest));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn an_address_and_an_exec_server_get_half_and_the_relay_all_of_it() {
        let budget = MemoryBudget::new(100);
        let first = budget.reserve(account(1, 1), 50).unwrap();
        assert_eq!(
            budget.reserve(account(1, 2), 1).unwrap_err(),
            MemoryExhausted::Site
        );
        assert_eq!(
            budget.reserve(account(2, 1), 1).unwrap_err(),
            MemoryExhausted::ExecServer
        );
        let mut second = budget.reserve(account(2, 2), 40).unwrap();
        let heaviest = first.account.site;
        assert_eq!(
            budget.reserve(account(3, 3), 11).unwrap_err(),
            MemoryExhausted::Relay { heaviest }
        );
        assert_eq!(second.grow(11), Err(MemoryExhausted::Site));
        let third = budget.reserve(account(3, 3), 10).unwrap();
        second.shrink(30);
        assert_eq!((budget.used(), second.bytes()), (70, 10));
        second.force(60);
        assert_eq!(budget.used(), 130);
        drop((first, second, third));
        assert_eq!(budget.used(), 0);
        let used = budget.lock();
        assert!(
            used.sites.is_empty() && used.exec_servers.is_empty(),
            "keys without memory are removed"
        );
    }
}
