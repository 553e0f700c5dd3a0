//! The head and the tail of a command's output, where the user limits it.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

use crate::limits::SMALL_READ;
use crate::output::OutputStream;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The number of its event.
    pub(crate) seq: u64,
    pub(crate) to: OutputStream,
    pub(crate) data: Bytes,
}

/// Lets the first half of the limit through, and keeps the last half. Both streams count together.
#[derive(Debug)]
pub(crate) struct CutOutput {
    head_left: usize,
    tail: VecDeque<Piece>,
    tail_bytes: usize,
    tail_max: usize,
    cut_bytes: u64,
}

impl CutOutput {
    pub(crate) fn new(limit: usize) -> Self {
        let tail_max = limit / 2;
        Self {
            head_left: limit - tail_max,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_max,
            cut_bytes: 0,
        }
    }

    /// Takes a piece. Returns what of it is in the head.
    pub(crate) fn take(&mut self, mut piece: Piece) -> Option<Piece> {
        let head = piece.data.split_to(self.head_left.min(piece.data.len()));
        self.head_left -= head.len();
        let head = (!head.is_empty()).then(|| Piece {
            data: head,
            ..piece.clone()
        });
        self.keep(piece);
        head
    }

    fn keep(&mut self, mut piece: Piece) {
        if piece.data.is_empty() {
            return;
        }
        if piece.data.len() < SMALL_READ {
            // It would keep the message alive that it is part of.
            piece.data = Bytes::copy_from_slice(&piece.data);
        }
        self.tail_bytes += piece.data.len();
        self.tail.push_back(piece);
        while self.tail_bytes > self.tail_max {
            let beyond = self.tail_bytes - self.tail_max;
            let Some(oldest) = self.tail.front_mut() else {
                break;
            };
            let cut = beyond.min(oldest.data.len());
            oldest.data.advance(cut);
            if oldest.data.is_empty() {
                self.tail.pop_front();
            }
            self.tail_bytes -= cut;
            self.cut_bytes += cut as u64;
        }
    }

    /// The bytes that are missing between the head and the tail, and the tail, once.
    pub(crate) fn finish(&mut self) -> (u64, VecDeque<Piece>) {
        self.tail_bytes = 0;
        (
            std::mem::take(&mut self.cut_bytes),
            std::mem::take(&mut self.tail),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> String {
        let text = |piece: &Piece| String::from_utf8_lossy(&piece.data).into_owned();
        pieces.into_iter().map(text).collect()
    }

    /// The head, the bytes that were cut, and the tail of these pieces.
    fn cut(limit: usize, pieces: &[&'static str]) -> (String, u64, String) {
        let mut cut = CutOutput::new(limit);
        let take = |(at, data): (usize, &&'static str)| {
            cut.take(Piece {
                seq: at as u64,
                to: [OutputStream::Stdout, OutputStream::Stderr][at % 2],
                data: Bytes::from_static(data.as_bytes()),
            })
        };
        let head: Vec<_> = pieces.iter().enumerate().filter_map(take).collect();
        let (bytes, tail) = cut.finish();
        (text(&head), bytes, text(&tail))
    }

    #[test]
    fn the_head_and_the_tail_are_kept_and_what_is_between_is_counted() {
        let all = ["0123", "", "45678", "9"];
        assert_eq!(cut(10, &all), ("01234".into(), 0, "56789".into()));
        assert_eq!(cut(100, &all), ("0123456789".into(), 0, "".into()));
        assert_eq!(cut(9, &all), ("01234".into(), 1, "6789".into()));
        assert_eq!(cut(4, &all), ("01".into(), 6, "89".into()));
        assert_eq!(cut(1, &all), ("0".into(), 9, "".into()));
        assert_eq!(cut(0, &all), ("".into(), 10, "".into()));
        assert_eq!(cut(4, &[]), ("".into(), 0, "".into()));
    }

    #[test]
    fn pieces_keep_their_stream_and_number() {
        let mut cut = CutOutput::new(2);
        let piece = |seq, to, data: &'static str| Piece {
            seq,
            to,
            data: Bytes::from_static(data.as_bytes()),
        };
        let head = cut.take(piece(2, OutputStream::Stderr, "ab"));
        assert_eq!(head, Some(piece(2, OutputStream::Stderr, "a")));
        assert_eq!(cut.take(piece(3, OutputStream::Stdout, "cd")), None);
        let (bytes, tail) = cut.finish();
        assert_eq!(
            (bytes, Vec::from(tail)),
            (2, vec![piece(3, OutputStream::Stdout, "d")])
        );
    }
}
