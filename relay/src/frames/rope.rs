//! Several buffers as one, so that a batch of frames is sent as one HTTP/2 DATA frame and one `writev`.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::JOIN_BYTES;
use crate::session_memory::BytesInHttp2;

/// Non-empty pieces in order.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    pieces: VecDeque<Bytes>,
    remaining: usize,
    /// Releases the memory once HTTP/2 has sent it.
    handed: Option<BytesInHttp2>,
}

/// Builds a [`Rope`]: appends large pieces without a copy, and copies small ones together.
#[derive(Default)]
pub(crate) struct RopeBuilder {
    rope: Rope,
    small: BytesMut,
}

impl RopeBuilder {
    /// Bytes appended so far.
    pub(crate) fn len(&self) -> usize {
        self.rope.remaining + self.small.len()
    }

    /// Appends a copy.
    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
    }

    /// Appends a piece of a payload; copies only a small one.
    pub(crate) fn append(&mut self, piece: Bytes) {
        if piece.len() <= JOIN_BYTES {
            self.copy(&piece);
        } else {
            self.flush();
            self.rope.push(piece);
        }
    }

    pub(crate) fn finish(mut self) -> Rope {
        self.flush();
        self.rope
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.rope.push(self.small.split().freeze());
        }
    }
}

impl Rope {
    /// Counts the rope as buffered by HTTP/2 until it is dropped.
    pub(crate) fn handed(self, handed: BytesInHttp2) -> Self {
        Self {
            handed: Some(handed),
            ..self
        }
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.remaining += piece.len();
            self.pieces.push_back(piece);
        }
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Self {
        let mut rope = Self::default();
        rope.push(bytes);
        rope
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advanced past the end of a rope");
        self.remaining -= count;
        if let Some(handed) = &self.handed {
            handed.moved();
        }
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else {
                return; // Unreachable: `remaining` is the sum of the pieces.
            };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_rope_reads_like_its_concatenation(
            sizes in proptest::collection::vec(0_usize..10_000, 0..12),
            steps in proptest::collection::vec(1_usize..20_000, 0..40),
        ) {
            let mut builder = RopeBuilder::default();
            let mut expected = Vec::new();
            for (i, size) in sizes.iter().enumerate() {
                let piece = Bytes::from(vec![i as u8; *size]);
                expected.extend_from_slice(&piece);
                builder.append(piece);
            }
            prop_assert_eq!(builder.len(), expected.len());
            let mut rope = builder.finish();
            let mut at = 0;
            for step in steps {
                let step = step.min(rope.remaining());
                let mut slices = [IoSlice::new(&[]); 16];
                let filled = rope.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
                prop_assert_eq!(&seen[..], &expected[at..]);
                rope.advance(step);
                at += step;
                prop_assert_eq!(rope.remaining(), expected.len() - at);
                prop_assert_eq!(rope.chunk().is_empty(), rope.remaining() == 0);
            }
        }
    }
}
