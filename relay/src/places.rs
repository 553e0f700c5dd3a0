//! The places of sessions, and the dials that wait for one.
//!
//! A dial that finds no place free waits. Each exec-server has a queue; in it the networks that dial take turns, and the dials of one
//! network go first come, first served. So nobody who dials a lot, and nobody who dials an exec-server that accepts nothing, keeps the
//! others waiting for longer than a turn. Only a full queue refuses, at once.
//!
//! Nothing that a place or a turn holds is dropped under the lock: giving a place back takes it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_proto::ExecServerId;
use tokio::sync::oneshot;

use crate::Limits;
use crate::network::{Network, NetworkSlot, NetworkSlots};
use crate::slots::{Slot, Slots};

/// All places of a relay.
pub(crate) struct Places {
    limits: Limits,
    total: Slots<()>,
    by_network: NetworkSlots,
    waiting_from: NetworkSlots,
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    of: HashMap<ExecServerId, Queue>,
    waiting: usize,
    next_turn: u64,
}

/// One exec-server's places, and who waits for them. Without either it is not kept.
#[derive(Default)]
struct Queue {
    sessions: usize,
    announced: usize,
    waiting: usize,
    /// The networks that wait, in the order of their turns.
    networks: VecDeque<Network>,
    dials: HashMap<Network, VecDeque<Turn>>,
}

struct Turn {
    number: u64,
    tell: oneshot::Sender<Granted>,
}

/// A dial that waits for a place. Dropped, it gives up its turn.
pub(crate) struct Waiting {
    places: Arc<Places>,
    exec_server: ExecServerId,
    network: Network,
    number: u64,
    granted: oneshot::Receiver<Granted>,
    _slot: NetworkSlot,
}

/// The places of one session.
pub(crate) struct Granted {
    pub(crate) client: ClientPlace,
    pub(crate) server: ServerPlace,
}

/// A session's place among those of its network and of the relay.
pub(crate) struct ClientPlace {
    places: Arc<Places>,
    slots: Option<(Slot<()>, NetworkSlot)>,
}

/// A session's place at its exec-server.
pub(crate) struct ServerPlace {
    places: Arc<Places>,
    exec_server: ExecServerId,
    is_announced: bool,
}

/// Which queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Relay,
    ExecServer,
    Network,
}

impl Places {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            limits: limits.clone(),
            total: Slots::new(limits.sessions),
            by_network: NetworkSlots::new(limits.sessions_per_address),
            waiting_from: NetworkSlots::new(limits.waiting_per_address),
            queues: Mutex::default(),
        })
    }

    /// Joins the queue of an exec-server.
    pub(crate) fn enter(
        self: &Arc<Self>,
        exec_server: ExecServerId,
        network: Network,
    ) -> Result<Waiting, Full> {
        let slot = self.waiting_from.take(network).ok_or(Full::Network)?;
        let (tell, granted) = oneshot::channel();
        let number = {
            let queues = &mut *self.lock();
            if queues.waiting >= self.limits.waiting {
                return Err(Full::Relay);
            }
            let queue = queues.of.entry(exec_server).or_default();
            if queue.waiting >= self.limits.waiting_per_exec_server {
                return Err(Full::ExecServer);
            }
            let waits = queue.dials.get(&network).map_or(0, VecDeque::len);
            if waits >= self.limits.waiting_per_exec_server_and_address {
                return Err(Full::Network);
            }
            queues.next_turn += 1;
            let number = queues.next_turn;
            queue.push(network, Turn { number, tell });
            queues.waiting += 1;
            number
        };
        let waiting = Waiting {
            places: self.clone(),
            exec_server,
            network,
            number,
            granted,
            _slot: slot,
        };
        self.serve(exec_server);
        Ok(waiting)
    }

    /// Gives the free places of an exec-server to those whose turn it is.
    fn serve(self: &Arc<Self>, exec_server: ExecServerId) {
        loop {
            let Some((turn, granted)) = self.next(exec_server) else {
                return;
            };
            // One that has given up meanwhile hands its places back here, outside the lock.
            drop(turn.tell.send(granted));
        }
    }

    /// The next turn for which everything is free, and what it gets.
    fn next(self: &Arc<Self>, exec_server: ExecServerId) -> Option<(Turn, Granted)> {
        let queues = &mut *self.lock();
        let queue = queues.of.get_mut(&exec_server)?;
        if queue.sessions >= self.limits.sessions_per_exec_server
            || queue.announced >= self.limits.pending_per_exec_server
        {
            return None;
        }
        // A network that has all its sessions is passed over, and keeps its turn.
        let (at, slots) = queue.networks.iter().enumerate().find_map(|(at, network)| {
            let slots = (self.total.take(())?, self.by_network.take(*network)?);
            Some((at, slots))
        })?;
        let turn = queue.take(at)?;
        queues.waiting -= 1;
        queue.sessions += 1;
        queue.announced += 1;
        let granted = Granted {
            client: ClientPlace {
                places: self.clone(),
                slots: Some(slots),
            },
            server: ServerPlace {
                places: self.clone(),
                exec_server,
                is_announced: true,
            },
        };
        Some((turn, granted))
    }

    /// A place of a network or of the relay came back: whoever waits for any exec-server may need it.
    fn serve_all(self: &Arc<Self>) {
        let waiting: Vec<_> = {
            let queues = self.lock();
            if queues.waiting == 0 {
                return;
            }
            let waits = queues.of.iter().filter(|(_, queue)| queue.waiting > 0);
            waits.map(|(exec_server, _)| *exec_server).collect()
        };
        for exec_server in waiting {
            self.serve(exec_server);
        }
    }

    /// Nobody gets a place any more.
    pub(crate) fn shut_down(&self) {
        let turns: Vec<_> = {
            let queues = &mut *self.lock();
            queues.waiting = 0;
            let all = queues.of.values_mut().flat_map(|queue| {
                queue.waiting = 0;
                queue.networks.clear();
                std::mem::take(&mut queue.dials)
            });
            all.collect()
        };
        drop(turns);
    }

    fn give_up(&self, waiting: &Waiting) {
        let turn = {
            let queues = &mut *self.lock();
            let Some(queue) = queues.of.get_mut(&waiting.exec_server) else {
                return;
            };
            let turn = queue.remove(waiting.network, waiting.number);
            queues.waiting -= usize::from(turn.is_some());
            if queue.is_unused() {
                queues.of.remove(&waiting.exec_server);
            }
            turn
        };
        drop(turn);
    }

    fn change(&self, exec_server: ExecServerId, change: impl FnOnce(&mut Queue)) {
        let queues = &mut *self.lock();
        if let Some(queue) = queues.of.get_mut(&exec_server) {
            change(queue);
            if queue.is_unused() {
                queues.of.remove(&exec_server);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, network: Network, turn: Turn) {
        let dials = self.dials.entry(network).or_default();
        if dials.is_empty() {
            self.networks.push_back(network);
        }
        dials.push_back(turn);
        self.waiting += 1;
    }

    /// The first dial of the network at this position, which goes behind the others.
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

impl Waiting {
    /// Resolves when it is this dial's turn.
    pub(crate) async fn granted(mut self) -> Option<Granted> {
        (&mut self.granted).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.places.give_up(self);
    }
}

impl ServerPlace {
    /// The exec-server has accepted: the next dial can be announced.
    pub(crate) fn accepted(&mut self) {
        if std::mem::take(&mut self.is_announced) {
            self.places.change(self.exec_server, |queue| queue.announced -= 1);
            self.places.serve(self.exec_server);
        }
    }
}

impl Drop for ServerPlace {
    fn drop(&mut self) {
        let was_announced = self.is_announced;
        self.places.change(self.exec_server, |queue| {
            queue.sessions -= 1;
            queue.announced -= usize::from(was_announced);
        });
        self.places.serve(self.exec_server);
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        drop(self.slots.take());
        self.places.serve_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: ExecServerId = ExecServerId([1; 16]);

    fn places(limits: Limits) -> Arc<Places> {
        Places::new(&limits)
    }

    fn network(host: u8) -> Network {
        Network::of([127, 0, 0, host].into())
    }

    fn granted(waiting: &mut Waiting) -> Option<Granted> {
        waiting.granted.try_recv().ok()
    }

    #[test]
    fn networks_take_turns_and_a_network_is_served_in_order() {
        let places = places(Limits {
            sessions_per_exec_server: 1,
            ..Limits::default()
        });
        let enter = |host| places.enter(SERVER, network(host)).ok().unwrap();
        let mut first = enter(1);
        let mut place = granted(&mut first);
        assert!(place.is_some(), "free places are given at once");
        // One network dials a lot before another dials once.
        let mut waiting: Vec<(u8, Waiting)> = [1, 1, 1, 2, 1, 3].map(|host| (host, enter(host))).into();
        let mut served = Vec::new();
        while !waiting.is_empty() {
            drop(place.take());
            let at = waiting.iter_mut().position(|(_, waiting)| {
                place = granted(waiting);
                place.is_some()
            });
            let at = at.expect("a place that came back is given on");
            served.push((waiting.remove(at).0, at));
        }
        let hosts: Vec<u8> = served.iter().map(|(host, _)| *host).collect();
        assert_eq!(hosts, [1, 2, 3, 1, 1, 1]);
        let of_first: Vec<usize> = served.iter().filter(|s| s.0 == 1).map(|s| s.1).collect();
        assert_eq!(of_first, [0; 4], "always the one that has waited longest");
        drop(place);
        assert!(
            places.lock().of.is_empty(),
            "an exec-server without sessions uses no memory"
        );
        assert_eq!(places.lock().waiting, 0);
    }

    #[test]
    fn only_so_many_dials_are_announced_at_once() {
        let places = places(Limits {
            pending_per_exec_server: 1,
            ..Limits::default()
        });
        let enter = || places.enter(SERVER, network(1)).ok().unwrap();
        let (mut first, mut second) = (enter(), enter());
        let mut accepted = granted(&mut first).unwrap();
        assert!(granted(&mut second).is_none());
        accepted.server.accepted();
        assert!(granted(&mut second).is_some());
    }

    #[test]
    fn a_network_that_has_all_its_sessions_waits_and_holds_nobody_up() {
        let places = places(Limits {
            sessions_per_address: 1,
            ..Limits::default()
        });
        let enter = |server, host| {
            places
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
        let _other = granted(&mut other).expect("another network passes it");
        // The exec-server's place comes back first, as where a client does not read.
        let Granted { client, server } = place;
        drop(server);
        assert!(granted(&mut again).is_none());
        drop(client);
        let got = [granted(&mut again).is_some(), granted(&mut elsewhere).is_some()];
        assert_eq!(got.iter().filter(|got| **got).count(), 1, "one place, one dial");
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
        let places = places(limits);
        let enter = |server, host| places.enter(ExecServerId([server; 16]), network(host));
        let mut held: Vec<_> = (0..3).map(|_| enter(1, 1).ok().unwrap()).collect();
        assert_eq!(enter(1, 1).err(), Some(Full::Network));
        held.push(enter(2, 1).ok().unwrap());
        assert_eq!(enter(3, 1).err(), Some(Full::Network), "over all exec-servers");
        held.push(enter(1, 2).ok().unwrap());
        assert_eq!(enter(1, 3).err(), Some(Full::Relay));
        drop(held.pop());
        drop(held.pop());
        held.push(enter(1, 2).ok().unwrap());
        assert_eq!(enter(1, 3).err(), Some(Full::ExecServer));
        drop(held.remove(1));
        assert!(enter(1, 3).is_ok());
    }
}
