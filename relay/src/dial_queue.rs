//! Session slots, and the dials that wait for one.
//!
//! A dial waits while no slot is free. Each exec-server has a queue, which serves networks in round-robin order and the
//! dials of one network in order of arrival. So a network with many dials, and dials to an exec-server that accepts
//! nothing, delay the dials of others by at most one turn. Only a dial that meets a full queue is refused, at once.
//!
//! Slots and turns are never dropped under the lock: releasing a slot takes the lock.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_proto::ExecServerId;
use tokio::sync::oneshot;

use crate::Limits;
use crate::network::{Network, NetworkSlot, NetworkSlots};
use crate::slots::{Slot, Slots};

/// The session slots of a relay, and the queues of dials.
pub(crate) struct DialQueue {
    limits: Limits,
    total: Slots<()>,
    by_network: NetworkSlots,
    waiting_from: NetworkSlots,
    queues: Mutex<QueuesByExecServer>,
}

#[derive(Default)]
struct QueuesByExecServer {
    by_exec_server: HashMap<ExecServerId, ExecServerQueue>,
    waiting: usize,
    next_turn: u64,
}

/// One exec-server's taken session slots and waiting dials. Removed when it has neither.
#[derive(Default)]
struct ExecServerQueue {
    sessions: usize,
    announced: usize,
    waiting: usize,
    /// The networks with waiting dials, in the order of their turns.
    networks: VecDeque<Network>,
    dials: HashMap<Network, VecDeque<Turn>>,
}

struct Turn {
    number: u64,
    sender: oneshot::Sender<SessionSlots>,
}

/// A dial that waits for a slot. Dropping it gives up its turn.
pub(crate) struct QueuedDial {
    dial_queue: Arc<DialQueue>,
    exec_server: ExecServerId,
    network: Network,
    number: u64,
    granted: oneshot::Receiver<SessionSlots>,
    _slot: NetworkSlot,
}

/// The slots of one session.
pub(crate) struct SessionSlots {
    pub(crate) client: ClientSlot,
    pub(crate) server: ExecServerSlot,
}

/// A session's slot of its network and of the relay.
pub(crate) struct ClientSlot {
    dial_queue: Arc<DialQueue>,
    slots: Option<(Slot<()>, NetworkSlot)>,
}

/// A session's slot of its exec-server.
pub(crate) struct ExecServerSlot {
    dial_queue: Arc<DialQueue>,
    exec_server: ExecServerId,
    is_announced: bool,
}

/// The queue that is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueFull {
    Relay,
    ExecServer,
    Network,
}

impl DialQueue {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            limits: limits.clone(),
            total: Slots::new(limits.sessions),
            by_network: NetworkSlots::new(limits.sessions_per_address),
            waiting_from: NetworkSlots::new(limits.waiting_per_address),
            queues: Mutex::default(),
        })
    }

    /// Adds a dial to the queue of an exec-server.
    pub(crate) fn enter(
        self: &Arc<Self>,
        exec_server: ExecServerId,
        network: Network,
    ) -> Result<QueuedDial, QueueFull> {
        let slot = self.waiting_from.take(network).ok_or(QueueFull::Network)?;
        let (sender, granted) = oneshot::channel();
        let number = {
            let queues = &mut *self.lock();
            if queues.waiting >= self.limits.waiting {
                return Err(QueueFull::Relay);
            }
            let queue = queues.by_exec_server.entry(exec_server).or_default();
            if queue.waiting >= self.limits.waiting_per_exec_server {
                return Err(QueueFull::ExecServer);
            }
            let waits = queue.dials.get(&network).map_or(0, VecDeque::len);
            if waits >= self.limits.waiting_per_exec_server_and_address {
                return Err(QueueFull::Network);
            }
            queues.next_turn += 1;
            let number = queues.next_turn;
            queue.push(network, Turn { number, sender });
            queues.waiting += 1;
            number
        };
        let waiting = QueuedDial {
            dial_queue: self.clone(),
            exec_server,
            network,
            number,
            granted,
            _slot: slot,
        };
        self.serve(exec_server);
        Ok(waiting)
    }

    /// Assigns the free slots of an exec-server to the dials whose turn it is.
    fn serve(self: &Arc<Self>, exec_server: ExecServerId) {
        loop {
            let Some((turn, granted)) = self.next(exec_server) else {
                return;
            };
            // If the dial was given up in the meantime, its slots are released here, outside the lock.
            drop(turn.sender.send(granted));
        }
    }

    /// The next turn for which all slots are free, and those slots.
    fn next(self: &Arc<Self>, exec_server: ExecServerId) -> Option<(Turn, SessionSlots)> {
        let queues = &mut *self.lock();
        let queue = queues.by_exec_server.get_mut(&exec_server)?;
        if queue.sessions >= self.limits.sessions_per_exec_server
            || queue.announced >= self.limits.pending_per_exec_server
        {
            return None;
        }
        // A network that has reached its session limit is skipped, and keeps its turn.
        let (at, slots) = queue.networks.iter().enumerate().find_map(|(at, network)| {
            let slots = (self.total.take(())?, self.by_network.take(*network)?);
            Some((at, slots))
        })?;
        let turn = queue.take(at)?;
        queues.waiting -= 1;
        queue.sessions += 1;
        queue.announced += 1;
        let granted = SessionSlots {
            client: ClientSlot {
                dial_queue: self.clone(),
                slots: Some(slots),
            },
            server: ExecServerSlot {
                dial_queue: self.clone(),
                exec_server,
                is_announced: true,
            },
        };
        Some((turn, granted))
    }

    /// Called when a slot of a network or of the relay was released, which a dial to any exec-server may need.
    fn serve_all(self: &Arc<Self>) {
        let waiting: Vec<_> = {
            let queues = self.lock();
            if queues.waiting == 0 {
                return;
            }
            let waits = queues
                .by_exec_server
                .iter()
                .filter(|(_, queue)| queue.waiting > 0);
            waits.map(|(exec_server, _)| *exec_server).collect()
        };
        for exec_server in waiting {
            self.serve(exec_server);
        }
    }

    fn give_up(&self, waiting: &QueuedDial) {
        let turn = {
            let queues = &mut *self.lock();
            let Some(queue) = queues.by_exec_server.get_mut(&waiting.exec_server) else {
                return;
            };
            let turn = queue.remove(waiting.network, waiting.number);
            queues.waiting -= usize::from(turn.is_some());
            if queue.is_unused() {
                queues.by_exec_server.remove(&waiting.exec_server);
            }
            turn
        };
        drop(turn);
    }

    fn change(&self, exec_server: ExecServerId, change: impl FnOnce(&mut ExecServerQueue)) {
        let queues = &mut *self.lock();
        if let Some(queue) = queues.by_exec_server.get_mut(&exec_server) {
            change(queue);
            if queue.is_unused() {
                queues.by_exec_server.remove(&exec_server);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueuesByExecServer> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ExecServerQueue {
    fn push(&mut self, network: Network, turn: Turn) {
        let dials = self.dials.entry(network).or_default();
        if dials.is_empty() {
            self.networks.push_back(network);
        }
        dials.push_back(turn);
        self.waiting += 1;
    }

    /// Removes the first dial of the network at this position, and moves the network to the end.
    fn take(&mut self, at: usize) -> Option<Turn> {
        let network = self.networks.remove(at)?;
        let dials = self.dials.get_mut(&network)?;
        let turn = dials.pop_front()?;
        self.waiting -= 1;
        if dials.is_empty() {
            self.dials.remove(&network);
        } else {
            self.networks.push_back(network);
        }
        Some(turn)
    }

    fn remove(&mut self, network: Network, number: u64) -> Option<Turn> {
        let dials = self.dials.get_mut(&network)?;
        let at = dials.binary_search_by_key(&number, |turn| turn.number).ok()?;
        let turn = dials.remove(at)?;
        self.waiting -= 1;
        if dials.is_empty() {
            self.dials.remove(&network);
            self.networks.retain(|waits| *waits != network);
        }
        Some(turn)
    }

    fn is_unused(&self) -> bool {
        self.sessions == 0 && self.announced == 0 && self.waiting == 0
    }
}

impl QueuedDial {
    /// Resolves with this dial's slots when it is its turn.
    pub(crate) async fn granted(mut self) -> SessionSlots {
        match (&mut self.granted).await {
            Ok(slots) => slots,
            // The queue, which this dial holds, drops a turn without slots only when the dial gives it up.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for QueuedDial {
    fn drop(&mut self) {
        self.dial_queue.give_up(self);
    }
}

impl ExecServerSlot {
    /// Called when the exec-server has accepted: the next dial can be announced.
    pub(crate) fn accepted(&mut self) {
        if std::mem::take(&mut self.is_announced) {
            self.dial_queue
                .change(self.exec_server, |queue| queue.announced -= 1);
            self.dial_queue.serve(self.exec_server);
        }
    }
}

impl Drop for ExecServerSlot {
    fn drop(&mut self) {
        let was_announced = self.is_announced;
        self.dial_queue.change(self.exec_server, |queue| {
            queue.sessions -= 1;
            queue.announced -= usize::from(was_announced);
        });
        self.dial_queue.serve(self.exec_server);
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        drop(self.slots.take());
        self.dial_queue.serve_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: ExecServerId = ExecServerId([1; 16]);

    fn dial_queue(limits: Limits) -> Arc<DialQueue> {
        DialQueue::new(&limits)
    }

    fn network(host: u8) -> Network {
        Network::of([127, 0, 0, host].into())
    }

    fn granted(waiting: &mut QueuedDial) -> Option<SessionSlots> {
        waiting.granted.try_recv().ok()
    }

    #[test]
    fn networks_take_turns_and_a_network_is_served_in_order() {
        let dial_queue = dial_queue(Limits {
            sessions_per_exec_server: 1,
            ..Limits::default()
        });
        let enter = |host| dial_queue.enter(SERVER, network(host)).ok().unwrap();
        let mut first = enter(1);
        let mut place = granted(&mut first);
        assert!(place.is_some(), "free slots are given at once");
        // One network dials a lot before another dials once.
        let mut waiting: Vec<(u8, QueuedDial)> = [1, 1, 1, 2, 1, 3].map(|host| (host, enter(host))).into();
        let mut served = Vec::new();
        while !waiting.is_empty() {
            drop(place.take());
            let at = waiting.iter_mut().position(|(_, waiting)| {
                place = granted(waiting);
                place.is_some()
            });
            let at = at.expect("a released slot is assigned to the next dial");
            served.push((waiting.remove(at).0, at));
        }
        let hosts: Vec<u8> = served.iter().map(|(host, _)| *host).collect();
        assert_eq!(hosts, [1, 2, 3, 1, 1, 1]);
        let of_first: Vec<usize> = served.iter().filter(|s| s.0 == 1).map(|s| s.1).collect();
        assert_eq!(of_first, [0; 4], "always the dial that has waited longest");
        drop(place);
        assert!(
            dial_queue.lock().by_exec_server.is_empty(),
            "an exec-server without sessions uses no memory"
        );
        assert_eq!(dial_queue.lock().waiting, 0);
    }

    #[test]
    fn only_so_many_dials_are_announced_at_once() {
        let dial_queue = dial_queue(Limits {
            pending_per_exec_server: 1,
            ..Limits::default()
        });
        let enter = || dial_queue.enter(SERVER, network(1)).ok().unwrap();
        let (mut first, mut second) = (enter(), enter());
        let mut accepted = granted(&mut first).unwrap();
        assert!(granted(&mut second).is_none());
        accepted.server.accepted();
        assert!(granted(&mut second).is_some());
    }

    #[test]
    fn a_network_that_has_all_its_sessions_waits_and_holds_nobody_up() {
        let dial_queue = dial_queue(Limits {
            sessions_per_address: 1,
            ..Limits::default()
        });
        let enter = |server, host| {
            dial_queue
                .enter(ExecServerId([server; 16]), network(host))
                .ok()
                .unwrap()
        };
        let (mut first, mut again, mut elsewhere) = (enter(1, 1), enter(1, 1), enter(2, 1));
        let place = granted(&mut first).unwrap();
        let mut other = enter(1, 2);
        assert!(granted(&mut again).is_none());
        assert!(
            granted(&mut elsewhere).is_none(),
            "the limit is the relay's, for all exec-servers"
        );
        let _other = granted(&mut other).expect("another network overtakes it");
        // The exec-server's slot is released first, as for a client that does not read.
        let SessionSlots { client, server } = place;
        drop(server);
        assert!(granted(&mut again).is_none());
        drop(client);
        let got = [granted(&mut again).is_some(), granted(&mut elsewhere).is_some()];
        assert_eq!(got.iter().filter(|got| **got).count(), 1, "one slot, one dial");
    }

    #[test]
    fn only_a_full_queue_refuses_and_one_that_gives_up_frees_it() {
        let limits = Limits {
            sessions_per_exec_server: 0,
            waiting: 5,
            waiting_per_exec_server: 4,
            waiting_per_exec_server_and_address: 3,
            waiting_per_address: 4,
            ..Limits::default()
        };
        let dial_queue = dial_queue(limits);
        let enter = |server, host| dial_queue.enter(ExecServerId([server; 16]), network(host));
        let mut held: Vec<_> = (0..3).map(|_| enter(1, 1).ok().unwrap()).collect();
        assert_eq!(enter(1, 1).err(), Some(QueueFull::Network));
        held.push(enter(2, 1).ok().unwrap());
        assert_eq!(
            enter(3, 1).err(),
            Some(QueueFull::Network),
            "over all exec-servers"
        );
        held.push(enter(1, 2).ok().unwrap());
        assert_eq!(enter(1, 3).err(), Some(QueueFull::Relay));
        drop(held.pop());
        drop(held.pop());
        held.push(enter(1, 2).ok().unwrap());
        assert_eq!(enter(1, 3).err(), Some(QueueFull::ExecServer));
        drop(held.remove(1));
        assert!(enter(1, 3).is_ok());
    }
}
