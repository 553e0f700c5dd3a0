//! The peer: a relay that knows nothing. It copies bytes between two TCP connections, 64 KiB at a time, on one thread, and neither
//! frames nor encrypts nor bounds anything.

use std::net::{Ipv4Addr, SocketAddr};

use baton_bench::{Failure, worker};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

use super::program::PIECE;
use super::runtime;

/// Leads every connection to `target`; says its address first, and is asked nothing.
pub(super) fn main(target: SocketAddr) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        tokio::select! {
            served = serve(&listener, target) => served,
            done = worker::answer(&address, async |_| Err("nothing is asked of a blind relay".into())) => done,
        }
    })
}

async fn serve(listener: &TcpListener, target: SocketAddr) -> Result<(), Failure> {
    loop {
        let (mut near, _) = listener.accept().await?;
        near.set_nodelay(true)?;
        let mut far = TcpStream::connect(target).await?;
        far.set_nodelay(true)?;
        tokio::spawn(async move {
            // Either end may hang up; whoever counts bytes notices.
            let _ = copy_bidirectional_with_sizes(&mut near, &mut far, PIECE, PIECE).await;
        });
    }
}
