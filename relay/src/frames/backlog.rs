//! Bytes of a body that arrived while the frame queue was full.
//!
//! The pump empties the body into the backlog, so that HTTP/2 buffers nothing. Small pieces are joined, so that single
//! bytes from a peer take no more memory than their length. Large pieces stay slices of the read buffer until they have
//! waited long.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::limits::COPY_BYTES;

/// The length at which joined pieces are completed.
const JOINED_BYTES: usize = 64 * 1024;

/// A queue of received bytes with their arrival times.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pieces: VecDeque<(Bytes, Instant)>,
    joined: BytesMut,
    last: Option<Instant>,
    copies: bool,
}

impl Backlog {
    pub(crate) fn push(&mut self, piece: Bytes, now: Instant) {
        if piece.len() > COPY_BYTES && !self.copies {
            self.cut();
            self.pieces.push_back((piece, now));
            return;
        }
        let mut piece = &piece[..];
        while !piece.is_empty() {
            let room = JOINED_BYTES - self.joined.len();
            let (taken, rest) = piece.split_at(room.min(piece.len()));
            self.joined.extend_from_slice(taken);
            self.last = Some(now);
            if self.joined.len() == JOINED_BYTES {
                self.cut();
            }
            piece = rest;
        }
    }

    /// The oldest bytes, and the arrival time of the last of them.
    pub(crate) fn pop(&mut self) -> Option<(Bytes, Instant)> {
        if self.pieces.is_empty() {
            self.cut();
        }
        self.pieces.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.joined.is_empty()
    }

    /// Copies all pieces, and later ones too, so that none pins a larger buffer.
    pub(crate) fn compact(&mut self) {
        if !std::mem::replace(&mut self.copies, true) {
            let pieces = std::mem::take(&mut self.pieces);
            self.pieces = pieces
                .into_iter()
                .map(|(piece, came)| (Bytes::copy_from_slice(&piece), came))
                .collect();
        }
    }

    /// Stops copying large pieces, because the session progresses again.
    pub(crate) fn expand(&mut self) {
        self.copies = false;
    }

    fn cut(&mut self) {
        if let (false, Some(came)) = (self.joined.is_empty(), self.last) {
            self.pieces.push_back((self.joined.split().freeze(), came));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_leave_in_the_order_they_came(
            sizes in proptest::collection::vec(prop_oneof![1_usize..50, 1_usize..200_000], 0..30),
            compacted in 0_usize..30,
        ) {
            let (mut backlog, now) = (Backlog::default(), Instant::now());
            let mut expected = Vec::new();
            for (at, size) in sizes.iter().enumerate() {
                if at == compacted {
                    backlog.compact();
                }
                let piece = vec![at as u8; *size];
                expected.extend_from_slice(&piece);
                backlog.push(piece.into(), now);
            }
            let mut seen = Vec::new();
            while let Some((piece, _)) = backlog.pop() {
                prop_assert!(!piece.is_empty());
                seen.extend_from_slice(&piece);
            }
            prop_assert!(backlog.is_empty());
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn single_bytes_are_joined_and_what_has_waited_pins_nothing_else() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        for _ in 0..JOINED_BYTES {
            backlog.push(Bytes::from_static(b"x"), now);
        }
        assert_eq!(backlog.pieces.len(), 1);
        let block = Bytes::from(vec![1; 1 << 20]);
        let part = block.slice(..COPY_BYTES + 1);
        backlog.push(part.clone(), now);
        assert_eq!(backlog.pieces[1].0.as_ptr(), part.as_ptr(), "uncopied at first");
        backlog.compact();
        assert_ne!(backlog.pieces[1].0.as_ptr(), part.as_ptr());
    }
}
