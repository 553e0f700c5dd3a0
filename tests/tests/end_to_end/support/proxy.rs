//! A TCP proxy that records every byte of both directions.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

type Tape = Arc<Mutex<Vec<u8>>>;

/// A listening proxy. Its threads end with their connections and with the test process.
pub(crate) struct Proxy {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
    tapes: Arc<Mutex<Vec<Tape>>>,
}

impl Proxy {
    /// Listens. [`set_target`](Self::set_target) sets the target later, because the target may need the proxy's address
    /// first.
    pub(crate) fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            target: Arc::default(),
            tapes: Arc::default(),
        };
        let (target, tapes) = (Arc::clone(&proxy.target), Arc::clone(&proxy.tapes));
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let far = TcpStream::connect(target.get().unwrap()).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let tape = Tape::default();
                    tapes.lock().unwrap().push(Arc::clone(&tape));
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || copy(from, to, &tape));
                }
            }
        });
        proxy
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set_target(&self, target: SocketAddr) {
        self.target.set(target).unwrap();
    }

    /// The bytes so far, one entry for each connection and direction.
    pub(crate) fn recorded(&self) -> Vec<Vec<u8>> {
        let tapes = self.tapes.lock().unwrap();
        tapes.iter().map(|tape| tape.lock().unwrap().clone()).collect()
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, tape: &Tape) {
    let _ = to.set_nodelay(true);
    let mut chunk = [0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        tape.lock().unwrap().extend_from_slice(&chunk[..read]);
        if to.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
