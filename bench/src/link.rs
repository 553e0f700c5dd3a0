//! A long, narrow link: a TCP proxy that lets bytes through at a rate and delivers them after a delay, per direction.
//!
//! It stands between two programs on one machine and needs no right to shape real traffic. TCP ends at the proxy, so it
//! models a path whose loss is none and whose sender learns of congestion only by a full queue. Before the narrow place waits at most
//! [`LINK_QUEUE`], in the receive buffer of the proxy's socket; what is beyond it is on its way, rate × delay. All connections
//! share one link.
//!
//! Threads rather than tasks: a runtime's timers count milliseconds, and the link promises less jitter than that.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::limits::{LINK_QUEUE, LINK_SLACK};

/// Bytes that take the narrow place in one go: two full packets of a local network, half a millisecond at 200 Mbit/s.
const PIECE: usize = 12 * 1024;

/// Pieces on their way at most: 3 MB, several times what any link here holds. One more waits for the receiver.
const PIECES: usize = 256;

/// What a link does to bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Bytes a second, each way.
    pub bytes_per_second: f64,
    /// From one end to the other; a round trip takes twice this.
    pub one_way: Duration,
}

/// A bound link that serves nobody yet.
#[derive(Debug)]
pub struct Link {
    listener: TcpListener,
    shape: Shape,
}

impl Link {
    /// Binds a free port of loopback.
    ///
    /// # Errors
    /// The operating system's.
    pub fn bind(shape: Shape) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Connections inherit it; later it would not bound the window that was already offered.
        set_socket_recv_buffer_size(&listener, LINK_QUEUE)?;
        Ok(Self { listener, shape })
    }

    /// Where its near end is.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Leads every connection to `target`, for ever.
    ///
    /// # Errors
    /// The operating system's, at accepting. A connection whose target is not there is closed.
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

/// Takes bytes as the narrow place has room, and says when each piece is at the other end.
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
        // What has not been read yet waits in the socket, which is the queue.
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
    // Fails only where the other side has gone.
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
    fn a_byte_takes_both_ways_to_come_back() {
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
        // 200 ms by the rate alone. Other tests want the cores as well.
        assert!(
            started.elapsed() < Duration::from_millis(400),
            "{:?}",
            started.elapsed()
        );
    }

    #[test]
    fn bytes_come_whole_in_order_and_no_faster_than_the_rate() {
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
