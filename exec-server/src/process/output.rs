//! Reads the pipes without copying: every chunk of output is a slice of the block that the kernel wrote to.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::limits::{FIRST_READ_BYTES, READ_BYTES};

/// The block that both pipes of a process are read into, one at a time. Several small chunks share one block. A block
/// is replaced once half of it is used, so the memory held is at most twice the output held.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    block: BytesMut,
    block_bytes: usize,
}

impl ReadBuffer {
    pub(super) fn new() -> Self {
        Self {
            block: BytesMut::new(),
            block_bytes: FIRST_READ_BYTES,
        }
    }

    /// One read of at most [`READ_BYTES`]; an empty chunk is the end of the file.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<Bytes>> {
        if self.block.capacity() < self.block_bytes.div_ceil(2) {
            self.block = BytesMut::with_capacity(self.block_bytes);
        }
        let read = pin!(pipe.read_buf(&mut self.block)).poll(cx);
        let read = ready!(read)?;
        if self.block.capacity() == read {
            self.block_bytes = READ_BYTES;
        }
        Poll::Ready(Ok(self.block.split_to(read).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn blocks_grow_for_bulk_and_are_shared_by_small_chunks() {
        let data = vec![9; 10 * READ_BYTES];
        let mut source = &data[..];
        let mut buffer = ReadBuffer::new();
        let mut sizes = Vec::new();
        loop {
            let chunk = std::future::poll_fn(|cx| buffer.poll_read(cx, &mut source))
                .await
                .unwrap();
            if chunk.is_empty() {
                break;
            }
            sizes.push(chunk.len());
        }
        assert_eq!(sizes.iter().sum::<usize>(), data.len());
        assert_eq!(sizes[..3], [FIRST_READ_BYTES, READ_BYTES, READ_BYTES]);

        let mut buffer = ReadBuffer::new();
        let mut first = &b"ab"[..];
        let mut second = &b"cd"[..];
        let a = std::future::poll_fn(|cx| buffer.poll_read(cx, &mut first))
            .await
            .unwrap();
        let b = std::future::poll_fn(|cx| buffer.poll_read(cx, &mut second))
            .await
            .unwrap();
        assert_eq!((&a[..], &b[..]), (&b"ab"[..], &b"cd"[..]));
        assert_eq!(a.as_ptr().wrapping_add(2), b.as_ptr(), "one block");
    }
}
