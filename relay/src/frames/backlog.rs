//! Bytes of a body that came before there was room for them in the queue.
//!
//! The body is emptied into here, so that HTTP/2 holds nothing. Small pieces are joined, so that a peer which sends single bytes makes the
//! relay hold no more than those; large ones stay slices of what was read until they have waited for long.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::limits::COPY_BYTES;

/// Where joined pieces are cut.
const JOINED_BYTES: usize = 64 * 1024;

/// See the [module](self).
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

    /// The oldest bytes, and when the last of them came.
    pub(crate) fn pop(&mut self) -> Option<(Bytes, Instant)> {
        if self.pieces.is_empty() {
            self.cut();
        }
        self.pieces.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.joined.is_empty()
    }

    /// Copies what is a slice of something larger, now and from now on.
    pub(crate) fn compact(&mut self) {
        if !std::mem::replace(&mut self.copies, true) {
            let pieces = std::mem::take(&mut self.pieces);
            self.pieces = pieces
                .into_iter()
                .map(|(piece, came)| (Bytes::copy_from_slice(&piece), came))
                .collect();
        }
    }

    /// It moves again.
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
