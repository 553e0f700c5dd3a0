//! Bounds the memory that incoming HTTP/2 frames of a connection can occupy.
//!
//! h2 buffers a frame until it is complete, and each DATA frame, however short, costs an entry in a table that does not
//! shrink. So bytes are read in small portions, and the tasks that consume frames run between two portions. Memory for
//! a longer frame is reserved before it is read. A peer without a session may send no such frame.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};

use crate::connection::Connection;
use crate::limits::FRAME_BEFORE_SESSION_BYTES;
use crate::memory_budget::MemoryReservation;

/// HTTP/2's connection preface (RFC 9113 section 3.4), which is not a frame.
const PREFACE_LEN: usize = 24;

/// Length (3 bytes), type, flags, stream (RFC 9113 section 4.1).
const HEADER_LEN: usize = 9;

/// A socket below h2 that scans the incoming frames.
pub(crate) struct FrameGuard<S> {
    io: Take<S>,
    connection: Arc<Connection>,
    scanner: FrameScanner,
    /// Memory of the long frame that is being received.
    held: Option<MemoryReservation>,
    /// A full portion was read: other tasks run before the next one.
    has_yielded: bool,
}

/// Finds the frame headers in a stream of bytes.
#[derive(Debug, PartialEq, Eq)]
struct FrameScanner {
    /// Bytes of the preface or of a frame's payload that have not arrived.
    payload: usize,
    header: [u8; HEADER_LEN],
    have: usize,
}

/// Why the relay closes a connection.
#[derive(Debug, thiserror::Error)]
enum ConnectionViolation {
    #[error(
        "a frame of {0} bytes from a peer without a session, which may send at most {FRAME_BEFORE_SESSION_BYTES} bytes"
    )]
    Early(usize),
    #[error("no memory for a frame of {0} bytes: the share of its address is used up")]
    Memory(usize),
}

impl<S: AsyncRead> FrameGuard<S> {
    pub(crate) fn new(io: S, connection: Arc<Connection>) -> Self {
        Self {
            io: io.take(0),
            connection,
            scanner: FrameScanner {
                payload: PREFACE_LEN,
                header: [0; HEADER_LEN],
                have: 0,
            },
            held: None,
            has_yielded: false,
        }
    }
}

impl FrameScanner {
    /// Calls `begins` with the payload length of each frame whose header is completed by these bytes.
    fn scan<E>(&mut self, mut bytes: &[u8], mut begins: impl FnMut(usize) -> Result<(), E>) -> Result<(), E> {
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = (HEADER_LEN - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER_LEN {
                let [a, b, c, ..] = self.header;
                self.have = 0;
                self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
                begins(self.payload)?;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if std::mem::take(&mut this.has_yielded) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // The rest of a long frame is read at once: the frame becomes one entry.
        let portion = this.scanner.payload + this.connection.portion();
        this.io.set_limit(portion as u64);
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        this.has_yielded = read.len() == portion;
        let (connection, held) = (&this.connection, &mut this.held);
        let scanned = this.scanner.scan(read, |payload| {
            *held = None;
            if payload <= FRAME_BEFORE_SESSION_BYTES {
                return Ok(());
            }
            if !connection.has_had_session() {
                return Err(ConnectionViolation::Early(payload));
            }
            *held = Some(
                connection
                    .reserve(payload)
                    .ok_or(ConnectionViolation::Memory(payload))?,
            );
            Ok(())
        });
        Poll::Ready(scanned.map_err(io::Error::other))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FrameGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_frame_is_seen_however_the_bytes_are_cut(
            lengths in proptest::collection::vec(0_usize..70_000, 0..20),
            cuts in proptest::collection::vec(1_usize..5_000, 1..8),
        ) {
            let mut bytes = vec![b'P'; PREFACE_LEN];
            for length in &lengths {
                bytes.extend_from_slice(&(*length as u32).to_be_bytes()[1..]);
                bytes.extend_from_slice(&[0xff; HEADER_LEN - 3]);
                bytes.resize(bytes.len() + length, 0xff);
            }
            let mut frames = FrameScanner { payload: PREFACE_LEN, header: [0; HEADER_LEN], have: 0 };
            let mut seen = Vec::new();
            let mut cuts = cuts.iter().cycle();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                frames.scan(piece, |length| { seen.push(length); Ok::<_, ()>(()) }).unwrap();
                rest = after;
            }
            prop_assert_eq!(seen, lengths);
            prop_assert_eq!((frames.payload, frames.have), (0, 0));
        }
    }
}
