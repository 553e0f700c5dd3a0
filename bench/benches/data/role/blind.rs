//! The blind TCP relay: it copies bytes between two TCP connections, on one thread, with a buffer for each direction of
//! the size that Baton's relay has. It has no framing, no encryption and no limits.

use std::net::{Ipv4Addr, SocketAddr};

use baton_bench::{Failure, worker};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

use super::runtime;
use crate::limits::RELAY_BUFFER;

/// Forwards every connection to `target`. Its first line is its address. It answers no requests.
pub(super) fn main(target: SocketAddr) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        tokio::select! {
            served = serve(&listener, target) => served,
            done = worker::answer(&address, async |_| Err("the blind relay answers no requests".into())) => done,
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
            // Either peer may disconnect. Missing bytes are detected by the consumer's count.
            let _ = copy_bidirectional_with_sizes(&mut near, &mut far, RELAY_BUFFER, RELAY_BUFFER).await;
        });
    }
}
