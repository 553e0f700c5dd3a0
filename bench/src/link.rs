//! A link of high latency and low bandwidth: a TCP proxy that limits the rate and delays delivery, per direction.
//!
//! It connects two programs on one machine and needs no privilege to shape traffic. TCP ends at the proxy. The modelled
//! network path therefore loses nothing, and a sender detects congestion only by a full queue. At most [`LINK_QUEUE`]
//! bytes wait before the bottleneck, in the receive buffer of the proxy's socket. Behind the bottleneck, rate × delay
//! bytes are in transit. All connections share one link.
//!
//! Threads, not tasks: a runtime's timers have a resolution of milliseconds, and the link needs less jitter.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::limits::{LINK_QUEUE, LINK_SLACK};

/// Bytes that pass the bottleneck at once: half a millisecond at 200 Mbit/s.
const PIECE: usize = 12 * 1024;

/// Maximum number of pieces in transit: 3 MB, several times rate × delay of every link here.
const PIECES: usize = 256;

/// Rate and delay of a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Rate of each direction.
    pub bytes_per_second: f64,
    /// Delay of each direction. A round trip takes twice as long.
    pub one_way: Duration,
}

/// A link that is bound and accepts no connection yet.
#[derive(Debug)]
pub struct Link {
    listener: TcpListener,
    shape: Shape,
}

impl Link {
    /// Binds a free port of loopback.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn bind(shape: Shape) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Accepted connections inherit the size. Set later, it would not shrink a window that was already advertised.
        set_socket_recv_buffer_size(&listener, LINK_QUEUE)?;
        Ok(Self { listener, shape })
    }

    /// The address that accepts connections.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Forwards every connection to `target`. Returns only on an error.
    ///
    /// # Errors
    /// An error of the operating system while accepting. If `target` refuses, the accepted connection is closed.
    pub fn serve(self, target: SocketAddr) -> io::Result<()> {
        let free = || Arc::new(Mutex::new(Instant::now()));
        let (up, down) = (free(), free());
        for near in self.listener.incoming() {
            let near = near?;
            let Ok(far) = dial(target) else {
                continue;
            };
            for (from, to, narrow) in [(&near, &far, &up), (&far, &near, &down)] {
                let (from, to) = (from.try_clone()?, to.try_clone()?);
                to.set_nodelay(true)?;
                let (send, arriving) = mpsc::sync_channel(PIECES);
                let (shape, narrow) = (self.shape, Arc::clone(narrow));
                thread::spawn(move || squeeze(from, &send, shape, &narrow));
                thread::spawn(move || deliver(&arriving, to));
            }
        }
        Ok(())
    }
}

fn dial(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    set_socket_recv_buffer_size(&socket, LINK_QUEUE)?;
    connect(&socket, &target)?;
    Ok(socket.into())
}

/// Reads at the rate of the bottleneck, and stamps each piece with the time at which it arrives.
fn squeeze(
    mut from: TcpStream,
    send: &SyncSender<(Instant, Vec<u8>)>,
    shape: Shape,
    narrow: &Mutex<Instant>,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        let takes = Duration::from_secs_f64(read as f64 / shape.bytes_per_second);
        let now = Instant::now();
        let through = {
            let mut free = narrow.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = now.checked_sub(LINK_SLACK).unwrap_or(now);
            *free = (*free).max(earliest) + takes;
            *free
        };
        let arrives = through.max(now) + shape.one_way;
        if send.send((arrives, piece[..read].to_vec())).is_err() {
            break;
        }
        // The socket's receive buffer is the queue: unread bytes wait there.
        sleep_until(through);
    }
}

fn deliver(arriving: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    while let Ok((at, piece)) = arriving.recv() {
        sleep_until(at);
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    // Fails only if the connection is already closed.
    let _ = to.shutdown(Shutdown::Write);
}

fn sleep_until(at: Instant) {
    thread::sleep(at.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo_behind(shape: Shape) -> TcpStream {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = echo.local_addr().unwrap();
        thread::spawn(move || {
            let mut stream = echo.accept().unwrap().0;
            let mut reader = stream.try_clone().unwrap();
            io::copy(&mut reader, &mut stream).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let link = Link::bind(shape).unwrap();
        let address = link.address().unwrap();
        thread::spawn(move || link.serve(target));
        TcpStream::connect(address).unwrap()
    }

    #[test]
    fn an_echoed_byte_takes_both_delays() {
        let mut near = echo_behind(Shape {
            bytes_per_second: 1e9,
            one_way: Duration::from_millis(20),
        });
        let sent = Instant::now();
        near.write_all(b"x").unwrap();
        near.read_exact(&mut [0]).unwrap();
        let took = sent.elapsed();
        assert!(
            took >= Duration::from_millis(40) && took < Duration::from_millis(400),
            "{took:?}"
        );
    }

    #[test]
    fn a_stream_gets_most_of_the_rate() {
        const BYTES: usize = 2_000_000;
        let mut near = echo_behind(Shape {
            bytes_per_second: 10e6,
            one_way: Duration::from_millis(1),
        });
        let mut reader = near.try_clone().unwrap();
        let started = Instant::now();
        let received = thread::spawn(move || io::copy(&mut reader, &mut io::sink()).unwrap());
        near.write_all(&vec![0; BYTES]).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(received.join().unwrap(), BYTES as u64);
        // The rate alone takes 200 ms. The rest allows for tests that run in parallel.
        assert!(
            started.elapsed() < Duration::from_millis(400),
            "{:?}",
            started.elapsed()
        );
    }

    #[test]
    fn bytes_arrive_complete_in_order_and_no_faster_than_the_rate() {
        let sent: Vec<u8> = (0..500_000u32).map(|i| (i % 251) as u8).collect();
        let mut near = echo_behind(Shape {
            bytes_per_second: 5e6,
            one_way: Duration::from_millis(1),
        });
        let started = Instant::now();
        let mut reader = near.try_clone().unwrap();
        let received = thread::spawn(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).unwrap();
            received
        });
        near.write_all(&sent).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(received.join().unwrap(), sent);
        assert!(started.elapsed() >= Duration::from_millis(99));
    }
}
