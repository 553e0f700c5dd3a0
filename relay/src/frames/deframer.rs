//! Splits a gRPC body into frames. Sans-IO: bytes and their arrival time in, whole frames out.
//!
//! [`Deframer::feed`] takes one chunk of the body; [`Deframer::next_frame`] is then called until it returns `None`. The
//! encoded message is never decoded: its pieces stay slices of the received chunks. Pieces up to [`COPY_BYTES`] are
//! copied, so that a peer that sends single bytes cannot pin a read buffer with each.

use std::time::{Duration, Instant};

use baton_proto::limits::FRAME_MAX;
use bytes::{Buf, Bytes, BytesMut};

use super::RopeBuilder;
use super::stamp::{STAMP_LEN, stamp};
use crate::limits::COPY_BYTES;

/// gRPC's length prefix: compressed flag, length (big-endian).
const PREFIX_LEN: usize = 5;

/// The longest accepted encoded message: with the relay's stamp it is still a valid frame for the receiver.
pub(crate) const MESSAGE_MAX: usize = FRAME_MAX - STAMP_LEN;

/// The sender of this body violated the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeframeError {
    /// The sender announced a frame longer than any Noise message.
    #[error("a frame of {0} bytes is longer than the limit of {MESSAGE_MAX} bytes")]
    TooLong(u32),
    /// The sender compressed a message; ciphertext does not compress, and the relay could not splice it.
    #[error("a frame is marked compressed, which baton.relay.v1 does not allow")]
    Compressed,
    /// The sender did not wait for the exec-server to accept.
    #[error("more than the first frame was sent before the exec-server accepted")]
    Early,
    /// The sender ended its body in the middle of a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
}

/// One encoded `Frame`, unmodified.
#[derive(Debug)]
pub(crate) struct SplicedFrame {
    pieces: Vec<Bytes>,
    len: usize,
    completed: Instant,
    forward: Duration,
}

/// The state machine that splits one body into frames.
#[derive(Debug, Default)]
pub(crate) struct Deframer {
    chunk: Bytes,
    arrived: Option<Instant>,
    state: DeframerState,
}

#[derive(Debug)]
enum DeframerState {
    Prefix {
        bytes: [u8; PREFIX_LEN],
        have: usize,
        since: Option<Instant>,
    },
    Message {
        partial: PartialFrame,
        missing: usize,
        since: Instant,
    },
}

#[derive(Debug, Default)]
struct PartialFrame {
    pieces: Vec<Bytes>,
    small: BytesMut,
    len: usize,
}

impl Deframer {
    /// Takes the next chunk of the body. The previous one must be consumed: [`Self::next_frame`] returned `None`.
    pub(crate) fn feed(&mut self, chunk: Bytes, now: Instant) {
        debug_assert!(
            self.chunk.is_empty(),
            "a chunk was fed before the previous one was consumed"
        );
        self.chunk = chunk;
        self.arrived = Some(now);
    }

    /// The next whole frame; `None` when more bytes are needed.
    pub(crate) fn next_frame(&mut self) -> Result<Option<SplicedFrame>, DeframeError> {
        let Some(now) = self.arrived else {
            return Ok(None);
        };
        loop {
            match &mut self.state {
                DeframerState::Prefix { bytes, have, since } => {
                    if self.chunk.is_empty() {
                        return Ok(None);
                    }
                    let since = *since.get_or_insert(now);
                    let take = (PREFIX_LEN - *have).min(self.chunk.len());
                    self.chunk.copy_to_slice(&mut bytes[*have..*have + take]);
                    *have += take;
                    if *have < PREFIX_LEN {
                        return Ok(None);
                    }
                    let missing = message_len(*bytes)?;
                    let mut partial = PartialFrame::default();
                    partial
                        .small
                        .reserve(if missing <= COPY_BYTES { missing } else { 0 });
                    self.state = DeframerState::Message {
                        partial,
                        missing,
                        since,
                    };
                }
                DeframerState::Message {
                    partial,
                    missing,
                    since,
                } => {
                    let take = (*missing).min(self.chunk.len());
                    partial.push(self.chunk.split_to(take));
                    *missing -= take;
                    if *missing > 0 {
                        return Ok(None);
                    }
                    let since = *since;
                    let partial = std::mem::take(partial);
                    self.state = DeframerState::default();
                    return Ok(Some(partial.finish(since, now)));
                }
            }
        }
    }

    /// Checks that the body ended between two frames.
    pub(crate) fn finish(&self) -> Result<(), DeframeError> {
        match self.state {
            DeframerState::Prefix { have: 0, .. } => Ok(()),
            _ => Err(DeframeError::Truncated),
        }
    }
}

impl SplicedFrame {
    /// Length of the encoded message.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Length of the message and its prefix in the body.
    pub(crate) fn body_len(&self) -> usize {
        PREFIX_LEN + self.len
    }

    /// Copies the message into one buffer, so that it pins no larger one.
    pub(crate) fn compact(&mut self) {
        let mut copy = BytesMut::with_capacity(self.len);
        for piece in self.pieces.drain(..) {
            copy.extend_from_slice(&piece);
        }
        self.pieces.push(copy.freeze());
    }

    /// Writes prefix, message and stamp; `now` is the end of its time in the queue.
    pub(crate) fn emit(self, now: Instant, out: &mut RopeBuilder) {
        let mut prefix = [0; PREFIX_LEN];
        // At most FRAME_MAX, far below 4 GiB.
        prefix[1..].copy_from_slice(&((self.len + STAMP_LEN) as u32).to_be_bytes());
        out.copy(&prefix);
        for piece in self.pieces {
            out.append(piece);
        }
        let queue = now.saturating_duration_since(self.completed);
        out.copy(&stamp(queue, self.forward));
    }
}

impl Default for DeframerState {
    fn default() -> Self {
        Self::Prefix {
            bytes: [0; PREFIX_LEN],
            have: 0,
            since: None,
        }
    }
}

impl PartialFrame {
    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() <= COPY_BYTES {
            self.small.extend_from_slice(&piece);
        } else {
            self.flush();
            self.pieces.push(piece);
        }
    }

    fn finish(mut self, since: Instant, now: Instant) -> SplicedFrame {
        self.flush();
        SplicedFrame {
            pieces: self.pieces,
            len: self.len,
            completed: now,
            forward: now.saturating_duration_since(since),
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }
}

fn message_len(prefix: [u8; PREFIX_LEN]) -> Result<usize, DeframeError> {
    let [compressed, a, b, c, d] = prefix;
    if compressed != 0 {
        return Err(DeframeError::Compressed);
    }
    let len = u32::from_be_bytes([a, b, c, d]);
    if len as usize > MESSAGE_MAX {
        return Err(DeframeError::TooLong(len));
    }
    Ok(len as usize)
}

#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fuzz::FRAMES;

#[cfg(test)]
mod tests {
    use baton_proto::limits::NOISE_MESSAGE_MAX;
    use baton_proto::relay::Frame;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// A gRPC body of these frames.
    fn body(frames: &[Frame]) -> Bytes {
        let mut body = Vec::new();
        for frame in frames {
            let message = frame.encode_to_vec();
            body.push(0);
            body.extend_from_slice(&(message.len() as u32).to_be_bytes());
            body.extend_from_slice(&message);
        }
        body.into()
    }

    /// Feeds `body` in chunks of the given sizes (repeated), a microsecond apart; emits each frame a millisecond after
    /// it is complete.
    fn splice(mut body: Bytes, sizes: &[usize]) -> Result<Vec<u8>, DeframeError> {
        let mut deframer = Deframer::default();
        let mut out = RopeBuilder::default();
        let mut now = Instant::now();
        let mut sizes = sizes.iter().cycle();
        while !body.is_empty() {
            let size = sizes.next().map_or(1, |size| (*size).clamp(1, body.len()));
            deframer.feed(body.split_to(size), now);
            while let Some(frame) = deframer.next_frame()? {
                frame.emit(now + Duration::from_millis(1), &mut out);
            }
            now += Duration::from_micros(1);
        }
        deframer.finish()?;
        let mut rope = out.finish();
        Ok(rope.copy_to_bytes(rope.remaining()).to_vec())
    }

    /// An independent decoder: prost, as the endpoints use it.
    fn decode(mut body: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while body.has_remaining() {
            assert_eq!(body.get_u8(), 0);
            let len = body.get_u32() as usize;
            assert!(len <= FRAME_MAX);
            let (message, rest) = body.split_at(len);
            frames.push(Frame::decode(message).unwrap());
            body = rest;
        }
        frames
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let size = prop_oneof![0..200_usize, 4_000..5_000_usize, 60_000..=NOISE_MESSAGE_MAX];
        (size, any::<u8>(), any::<u64>(), any::<u64>()).prop_map(|(size, fill, queue_ns, forward_ns)| Frame {
            noise: vec![fill; size].into(),
            queue_ns,
            forward_ns,
            version: 0,
        })
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_noise_messages_and_the_relays_own_stamps(
            frames in proptest::collection::vec(frame(), 0..6),
            sizes in proptest::collection::vec(1_usize..70_000, 1..8),
        ) {
            let spliced = decode(&splice(body(&frames), &sizes).unwrap());
            prop_assert_eq!(spliced.len(), frames.len());
            for (out, sent) in spliced.iter().zip(&frames) {
                prop_assert_eq!(&out.noise, &sent.noise);
                prop_assert_eq!(out.queue_ns, 1_000_000);
                prop_assert_eq!(out.forward_ns % 1_000, 0);
                prop_assert!(out.forward_ns < 1_000_000_000);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            sizes in proptest::collection::vec(1_usize..40, 1..8),
        ) {
            let _ = splice(bytes.into(), &sizes);
        }
    }

    #[test]
    fn the_bytes_of_a_spliced_frame_are_stable() {
        let body = Bytes::from_static(&[0, 0, 0, 0, 4, 0x0a, 2, 0xaa, 0xbb]);
        assert_eq!(
            splice(body, &[9]).unwrap(),
            [
                0, 0, 0, 0, 18, // prefix: 4 and the stamp's 14
                0x0a, 2, 0xaa, 0xbb, // noise, unmodified
                0x10, 0xc0, 0x84, 0xbd, 0x80, 0x80, 0x00, // queue_ns: 1 ms
                0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, // forward_ns: 0
            ]
        );
    }

    #[test]
    fn a_frame_that_trickles_in_is_timed_from_its_first_byte_to_its_last() {
        let frames = [Frame {
            noise: vec![7; 10].into(),
            ..Frame::default()
        }];
        let body = body(&frames);
        let chunks = body.len() as u64;
        let spliced = decode(&splice(body, &[1]).unwrap());
        assert_eq!(spliced[0].forward_ns, (chunks - 1) * 1_000);
        assert_eq!(spliced[0].queue_ns, 1_000_000);
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let message = Bytes::from(vec![9; 60_000]);
        let mut deframer = Deframer::default();
        let now = Instant::now();
        deframer.feed(Bytes::from_static(&[0, 0, 0, 0xea, 0x60]), now);
        assert!(deframer.next_frame().unwrap().is_none());
        deframer.feed(message.clone(), now);
        let frame = deframer.next_frame().unwrap().unwrap();
        assert_eq!(frame.pieces[0].as_ptr(), message.as_ptr());
    }

    #[test]
    fn single_bytes_do_not_become_single_pieces() {
        let frames = [Frame {
            noise: vec![7; 60_000].into(),
            ..Frame::default()
        }];
        let mut deframer = Deframer::default();
        let mut body = body(&frames);
        while body.len() > 1 {
            deframer.feed(body.split_to(1), Instant::now());
            assert!(deframer.next_frame().unwrap().is_none());
        }
        deframer.feed(body, Instant::now());
        assert_eq!(deframer.next_frame().unwrap().unwrap().pieces.len(), 1);
    }

    #[test]
    fn the_longest_noise_message_fits_even_with_an_endpoints_own_stamps() {
        let frames = [Frame {
            noise: vec![1; NOISE_MESSAGE_MAX].into(),
            queue_ns: u64::MAX,
            forward_ns: u64::MAX,
            version: u32::MAX,
        }];
        assert_eq!(
            decode(&splice(body(&frames), &[9_999]).unwrap())[0].noise,
            frames[0].noise
        );
    }

    #[test]
    fn broken_framing_is_typed() {
        let too_long = (MESSAGE_MAX as u32 + 1).to_be_bytes();
        let prefix = [&[0], &too_long[..]].concat();
        assert_eq!(
            splice(prefix.into(), &[2]),
            Err(DeframeError::TooLong(MESSAGE_MAX as u32 + 1))
        );
        let huge = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(splice(huge, &[5]), Err(DeframeError::TooLong(u32::MAX)));
        let compressed = Bytes::from_static(&[1, 0, 0, 0, 0]);
        assert_eq!(splice(compressed, &[5]), Err(DeframeError::Compressed));
        for end in 1..7 {
            let whole = Bytes::from_static(&[0, 0, 0, 0, 2, 8, 9]);
            assert_eq!(
                splice(whole.slice(..end), &[3]),
                Err(DeframeError::Truncated),
                "{end}"
            );
        }
    }
}
