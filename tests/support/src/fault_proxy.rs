//! A TCP proxy that harms the connections of one link: cuts, stalls, half-open connections, single bytes, delays.
//!
//! Each direction of a connection has a reader and a writer with a bounded queue in between; faults act at the writer. A
//! fault is [injected](FaultProxy::inject) at once, or [armed](FaultProxy::arm) for a number of bytes or a time. An armed
//! fault acts exactly behind that byte: what follows it is not written before the fault has acted.
//!
//! The proxy has a runtime of its own, so that blocking tests can use it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::limits::{PROXY_CHUNK, PROXY_QUEUE};

/// A direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the program that connected to the target.
    Up,
    /// From the target to the program that connected.
    Down,
}

/// What happens to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every open connection is reset, at both ends.
    Cut,
    /// Every open connection is closed, at both ends.
    Close,
    /// Nothing passes for this time, in either direction, on open and on new connections. Then all of it passes.
    Stall(Duration),
    /// What is sent in this direction on an open connection is swallowed from now on, its end included. New connections
    /// work.
    HalfOpen(Direction),
    /// Each byte is written alone, on open and on new connections.
    OneByte,
    /// Each piece passes this much later than it arrived, on open and on new connections.
    Delay(Duration),
    /// [`OneByte`](Self::OneByte) and [`Delay`](Self::Delay) end.
    Heal,
}

/// When an armed fault acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Behind so many bytes of this direction, of all connections together, from now on.
    Bytes(Direction, u64),
    /// After this time.
    Time(Duration),
}

/// A proxy that listens on loopback. Dropping it resets its connections.
pub struct FaultProxy {
    address: SocketAddr,
    link: Arc<Link>,
    runtime: Option<Runtime>,
}

/// The state that all connections share.
struct Link {
    state: Mutex<State>,
    condition: watch::Sender<Condition>,
}

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    connections: Vec<Weak<Connection>>,
    accepted: u64,
    /// Bytes of each direction: up, down.
    passed: [u64; 2],
    /// Faults that wait for the total of a direction.
    armed: Vec<(Direction, u64, Fault)>,
    acted: u64,
}

/// What holds for new connections too.
#[derive(Debug, Clone, Copy, Default)]
struct Condition {
    stalled_until: Option<Instant>,
    one_byte: bool,
    delay: Duration,
}

/// One connection.
#[derive(Default)]
struct Connection {
    swallows: [AtomicBool; 2],
    end: watch::Sender<Option<End>>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Reset,
    Close,
}

impl Direction {
    /// The other one.
    pub fn reverse(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Up => 0,
            Self::Down => 1,
        }
    }
}

impl FaultProxy {
    /// Listens. Connections are refused until there is a [target](Self::set_target).
    ///
    /// # Errors
    /// No runtime, or no port.
    pub fn bind() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let link = Arc::new(Link {
            state: Mutex::default(),
            condition: watch::Sender::new(Condition::default()),
        });
        let address = listener.local_addr()?;
        runtime.spawn(accept(listener, Arc::clone(&link)));
        Ok(Self {
            address,
            link,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where new connections lead.
    pub fn set_target(&self, target: SocketAddr) {
        self.link.state().target = Some(target);
    }

    /// The fault acts now.
    pub fn inject(&self, fault: Fault) {
        self.link.act(&mut self.link.state(), fault);
    }

    /// The fault acts later, once.
    pub fn arm(&self, trigger: Trigger, fault: Fault) {
        match trigger {
            Trigger::Bytes(direction, bytes) => {
                let mut state = self.link.state();
                let total = state.passed[direction.index()] + bytes;
                state.armed.push((direction, total, fault));
            }
            Trigger::Time(time) => {
                let link = Arc::clone(&self.link);
                let runtime = self.runtime.as_ref().expect("it ends with the proxy");
                runtime.spawn(async move {
                    sleep(time).await;
                    link.act(&mut link.state(), fault);
                });
            }
        }
    }

    /// Faults that wait for bytes do not act any more.
    pub fn disarm(&self) {
        self.link.state().armed.clear();
    }

    /// How many faults have acted.
    pub fn acted(&self) -> u64 {
        self.link.state().acted
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> u64 {
        self.link.state().accepted
    }
}

impl std::fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FaultProxy({})", self.address)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.inject(Fault::Cut);
        // Does not wait, so that an asynchronous test can drop it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Link {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act(&self, state: &mut State, fault: Fault) {
        state.acted += 1;
        let end_all = |end| {
            for connection in state.connections.iter().filter_map(Weak::upgrade) {
                connection.end.send_replace(Some(end));
            }
        };
        match fault {
            Fault::Cut => end_all(End::Reset),
            Fault::Close => end_all(End::Close),
            Fault::HalfOpen(direction) => {
                for connection in state.connections.iter().filter_map(Weak::upgrade) {
                    connection.swallows[direction.index()].store(true, Ordering::Relaxed);
                }
            }
            Fault::Stall(time) => self
                .condition
                .send_modify(|condition| condition.stalled_until = Some(Instant::now() + time)),
            Fault::OneByte => self.condition.send_modify(|condition| condition.one_byte = true),
            Fault::Delay(time) => self.condition.send_modify(|condition| condition.delay = time),
            Fault::Heal => self.condition.send_modify(|condition| {
                (condition.one_byte, condition.delay) = (false, Duration::ZERO);
            }),
        }
    }

    /// How many of the next `bytes` may be written before a fault acts.
    fn may_pass(&self, direction: Direction, bytes: usize) -> usize {
        let state = self.state();
        let passed = state.passed[direction.index()];
        let due = state.armed.iter().filter(|(of, ..)| *of == direction);
        let least = due.map(|(_, total, _)| total.saturating_sub(passed)).min();
        let least = least.and_then(|least| usize::try_from(least).ok());
        least.map_or(bytes, |least| least.max(1).min(bytes))
    }

    /// These bytes were written. Faults that were armed for them act.
    fn passed(&self, direction: Direction, bytes: usize) {
        let mut state = self.state();
        state.passed[direction.index()] += bytes as u64;
        let passed = state.passed[direction.index()];
        let is_due = |(of, total, _): &mut (Direction, u64, Fault)| *of == direction && *total <= passed;
        let due: Vec<_> = state.armed.extract_if(.., is_due).collect();
        for (_, _, fault) in due {
            self.act(&mut state, fault);
        }
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>) {
    loop {
        // Fails for lack of descriptors, or if the peer has gone.
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        let connection = Arc::<Connection>::default();
        let target = {
            let mut state = link.state();
            state.accepted += 1;
            state
                .connections
                .retain(|connection| connection.strong_count() > 0);
            state.connections.push(Arc::downgrade(&connection));
            state.target
        };
        let link = Arc::clone(&link);
        tokio::spawn(async move {
            let far = match target {
                Some(target) => TcpStream::connect(target).await.ok(),
                None => None,
            };
            match far {
                Some(far) => serve(near, far, &link, &connection).await,
                None => reset(&near),
            }
        });
    }
}

/// Serves one connection until its end.
async fn serve(mut near: TcpStream, mut far: TcpStream, link: &Link, connection: &Connection) {
    for stream in [&near, &far] {
        // Without it a byte would wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
    }
    let mut end = connection.end.subscribe();
    let end = {
        let (near_from, near_to) = near.split();
        let (far_from, far_to) = far.split();
        let both = async {
            tokio::join!(
                pump(Direction::Up, near_from, far_to, link, connection),
                pump(Direction::Down, far_from, near_to, link, connection),
            )
        };
        tokio::select! {
            biased;
            Ok(end) = end.wait_for(Option::is_some) => *end,
            _ = both => None,
        }
    };
    if let Some(End::Reset) = end {
        reset(&near);
        reset(&far);
    }
}

/// Makes the close of this connection a reset.
fn reset(stream: &TcpStream) {
    // Fails if the peer has reset it.
    let _ = set_socket_linger(stream.as_fd(), Some(Duration::ZERO));
}

/// Moves one direction until its end.
async fn pump(
    direction: Direction,
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    link: &Link,
    connection: &Connection,
) {
    let (queue, queued) = mpsc::channel(PROXY_QUEUE);
    tokio::join!(read(from, queue), write(direction, queued, to, link, connection));
}

async fn read(mut from: ReadHalf<'_>, queue: mpsc::Sender<(Instant, Bytes)>) {
    let mut chunk = vec![0; PROXY_CHUNK];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let piece = (Instant::now(), Bytes::copy_from_slice(&chunk[..read]));
        // Fails never: the writer reads to the end.
        if queue.send(piece).await.is_err() {
            return;
        }
    }
}

async fn write(
    direction: Direction,
    mut queued: mpsc::Receiver<(Instant, Bytes)>,
    mut to: WriteHalf<'_>,
    link: &Link,
    connection: &Connection,
) {
    let swallows = || connection.swallows[direction.index()].load(Ordering::Relaxed);
    let mut is_broken = false;
    while let Some((arrived, mut piece)) = queued.recv().await {
        while !piece.is_empty() {
            await_passage(link, arrived).await;
            if swallows() || is_broken {
                break;
            }
            let most = match link.condition.borrow().one_byte {
                true => 1,
                false => piece.len(),
            };
            let part = piece.split_to(link.may_pass(direction, most));
            // The peer has gone, and its end may not have been seen: what is left has no reader.
            is_broken = to.write_all(&part).await.is_err();
            link.passed(direction, part.len());
            // A fault that has just acted comes before the next byte.
            tokio::task::yield_now().await;
        }
    }
    await_passage(link, Instant::now()).await;
    if swallows() {
        // The other end does not learn of it. It ends with the other direction, or with the proxy.
        std::future::pending::<()>().await;
    }
    let _ = to.shutdown().await;
}

/// Waits until a piece that arrived at this time may pass.
async fn await_passage(link: &Link, arrived: Instant) {
    loop {
        let condition = *link.condition.borrow();
        let stalled = condition.stalled_until.unwrap_or(arrived);
        let until = stalled.max(arrived + condition.delay);
        if until <= Instant::now() {
            return;
        }
        let mut changed = link.condition.subscribe();
        tokio::select! {
            () = sleep_until(until) => {}
            // The link outlives its connections.
            _ = changed.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests;
