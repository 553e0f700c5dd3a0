//! The framing of outer streams: gRPC messages, each a `Frame` around one Noise message.
//!
//! Works on HTTP/2 bodies, without tonic's codec: encryption writes directly into the send buffer, and decryption reads
//! directly from the received chunk.

use baton_proto::PROTOCOL_VERSION;
use baton_proto::limits::{FRAME_MAX, NOISE_MESSAGE_MAX};
use baton_proto::relay::Frame;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use baton_mux::RelayStamp;

use crate::limits::FRAME_HEADER_MAX;

/// gRPC's prefix: a compression flag and a `u32` length.
const PREFIX_LEN: usize = 5;

/// The field header of `Frame.noise`.
const NOISE_TAG: u8 = 0x0a;

/// Why the received bytes are not a stream of frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OuterError {
    /// The relay set gRPC's compression flag, which is never negotiated.
    #[error("the relay sent a compressed frame")]
    Compressed,
    /// The frame is longer than [`FRAME_MAX`].
    #[error("the relay sent a frame of {0} bytes (limit {FRAME_MAX})")]
    TooLong(usize),
    /// The message does not decode as a `Frame`.
    #[error("the relay sent a message that is not a frame")]
    Malformed,
    /// The frame has no Noise message but a version: the peer cannot read this end's handshake, and speaks that
    /// version.
    #[error(
        "the other end speaks protocol version {0}, this one {PROTOCOL_VERSION} (the relay reports this, and nothing authenticates it)"
    )]
    OtherVersion(u32),
    /// The stream ended inside a frame.
    #[error("the relay cut a frame short")]
    Truncated,
}

/// Appends the part of a `Frame` that precedes its Noise message of `len` bytes.
fn put_frame_header(out: &mut impl BufMut, len: usize) {
    debug_assert!(len <= NOISE_MESSAGE_MAX);
    let field = 1 + prost::length_delimiter_len(len);
    out.put_u8(0);
    out.put_u32((field + len) as u32);
    out.put_u8(NOISE_TAG);
    // There is room for FRAME_HEADER_MAX bytes, so this cannot fail.
    let _ = prost::encode_length_delimiter(len, out);
}

/// Writes what precedes the last Noise message of `out`, whose `Frame` begins at `start` with room of
/// [`FRAME_HEADER_MAX`] bytes for it. A message of less than 16 KiB is moved, because it needs less room.
pub(crate) fn finish_frame(out: &mut BytesMut, start: usize) {
    let message = start + FRAME_HEADER_MAX;
    let mut header = [0; FRAME_HEADER_MAX];
    let mut rest = &mut header[..];
    put_frame_header(&mut rest, out.len() - message);
    let used = FRAME_HEADER_MAX - rest.len();
    out[start..start + used].copy_from_slice(&header[..used]);
    if used < FRAME_HEADER_MAX {
        out.copy_within(message.., start + used);
        out.truncate(out.len() - (FRAME_HEADER_MAX - used));
    }
}

/// Appends a `Frame` around a Noise message.
pub(crate) fn put_frame(out: &mut BytesMut, noise: &[u8]) {
    put_frame_header(out, noise.len());
    out.extend_from_slice(noise);
}

/// Appends the `Frame` that an exec-server sends instead of message 2 to a client of another version.
pub(crate) fn put_version(out: &mut BytesMut) {
    let frame = Frame {
        version: PROTOCOL_VERSION,
        ..Frame::default()
    };
    out.put_u8(0);
    out.put_u32(frame.encoded_len() as u32);
    // BytesMut grows, so this cannot fail.
    let _ = frame.encode(out);
}

/// Extracts frames from chunks that are cut at any offsets. Buffers at most one incomplete frame. Only a frame that
/// spans chunks is copied; the others are slices of their chunk.
#[derive(Default)]
pub(crate) struct Deframer {
    /// The start of a frame, from earlier chunks.
    partial: BytesMut,
    chunk: Bytes,
}

impl Deframer {
    /// Adds the next chunk. The caller must have extracted all complete frames before.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(
            self.chunk.is_empty(),
            "frames of the last chunk were not extracted"
        );
        self.chunk = chunk;
    }

    /// The next complete Noise message and the relay's stamp on it.
    pub(crate) fn next(&mut self) -> Result<Option<(Bytes, RelayStamp)>, OuterError> {
        let Some(message) = self.next_message()? else {
            return Ok(None);
        };
        let frame = Frame::decode(message.slice(PREFIX_LEN..)).map_err(|_| OuterError::Malformed)?;
        if frame.noise.len() > NOISE_MESSAGE_MAX {
            return Err(OuterError::TooLong(frame.noise.len()));
        }
        // Beside a Noise message the version is ignored, because only the message is authenticated.
        if frame.noise.is_empty() && frame.version != 0 {
            return Err(OuterError::OtherVersion(frame.version));
        }
        let stamp = RelayStamp {
            queue_ns: frame.queue_ns,
            forward_ns: frame.forward_ns,
        };
        Ok(Some((frame.noise, stamp)))
    }

    /// The next complete gRPC message, prefix included.
    fn next_message(&mut self) -> Result<Option<Bytes>, OuterError> {
        if self.partial.is_empty() {
            match message_len(&self.chunk)? {
                Some(len) if len <= self.chunk.len() => return Ok(Some(self.chunk.split_to(len))),
                // One allocation for the whole frame.
                Some(len) => self.partial.reserve(len),
                None => {}
            }
        }
        // First the prefix, which contains the length.
        self.complete(PREFIX_LEN);
        let Some(len) = message_len(&self.partial)? else {
            return Ok(None);
        };
        self.complete(len);
        Ok((self.partial.len() == len).then(|| std::mem::take(&mut self.partial).freeze()))
    }

    /// Moves bytes from the chunk to the incomplete frame until it has `len` bytes.
    fn complete(&mut self, len: usize) {
        let missing = len.saturating_sub(self.partial.len());
        let there = missing.min(self.chunk.len());
        if there > 0 {
            self.partial.reserve(missing);
            self.partial.extend_from_slice(&self.chunk.split_to(there));
        }
    }

    /// Checks that the stream did not end inside a frame.
    pub(crate) fn finish(&self) -> Result<(), OuterError> {
        if self.partial.is_empty() && self.chunk.is_empty() {
            Ok(())
        } else {
            Err(OuterError::Truncated)
        }
    }
}

/// Length of the first gRPC message, prefix included; `None` if its prefix is incomplete.
fn message_len(mut bytes: &[u8]) -> Result<Option<usize>, OuterError> {
    if bytes.len() < PREFIX_LEN {
        return Ok(None);
    }
    if bytes.get_u8() != 0 {
        return Err(OuterError::Compressed);
    }
    let len = bytes.get_u32() as usize;
    if len > FRAME_MAX {
        return Err(OuterError::TooLong(len));
    }
    Ok(Some(PREFIX_LEN + len))
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_stable() {
        let mut out = BytesMut::new();
        put_frame(&mut out, b"abc");
        assert_eq!(&out[..], b"\x00\x00\x00\x00\x05\x0a\x03abc");
        out.clear();
        put_version(&mut out);
        assert_eq!(&out[..], b"\x00\x00\x00\x00\x02\x20\x02");
    }

    #[test]
    fn a_message_that_was_written_in_place_becomes_the_same_frame() {
        for len in [0, 1, 127, 128, 16_383, 16_384, NOISE_MESSAGE_MAX] {
            let noise = vec![7; len];
            let mut copied = BytesMut::from("before");
            put_frame(&mut copied, &noise);
            let mut in_place = BytesMut::from("before");
            in_place.put_bytes(0, FRAME_HEADER_MAX);
            in_place.put_slice(&noise);
            finish_frame(&mut in_place, "before".len());
            assert_eq!(in_place, copied, "{len}");
        }
    }

    #[test]
    fn a_version_counts_only_without_a_noise_message() {
        let next = |frame: &[u8]| {
            let mut deframer = Deframer::default();
            deframer.push(Bytes::copy_from_slice(frame));
            deframer.next().map(|taken| taken.map(|(noise, _)| noise))
        };
        assert_eq!(next(b"\0\0\0\0\x02\x20\x07"), Err(OuterError::OtherVersion(7)));
        let beside = next(b"\0\0\0\0\x05\x0a\x01x\x20\x07");
        assert_eq!(beside, Ok(Some(Bytes::from_static(b"x"))));
    }

    #[test]
    fn bad_prefixes_are_refused() {
        let next = |bytes: &'static [u8]| {
            let mut deframer = Deframer::default();
            deframer.push(Bytes::from_static(bytes));
            deframer.next()
        };
        assert_eq!(next(b"\x01\0\0\0\0"), Err(OuterError::Compressed));
        assert_eq!(next(b"\x00\xff\0\0\0"), Err(OuterError::TooLong(0xff00_0000)));
        assert_eq!(next(b"\x00\0\0\0\x01\xff"), Err(OuterError::Malformed));
    }

    #[test]
    fn a_frame_within_one_chunk_is_not_copied() {
        let mut wire = BytesMut::new();
        put_frame(&mut wire, &[1; 3_000]);
        put_frame(&mut wire, &[2; 3_000]);
        let wire = wire.freeze();
        let cut = wire.len() / 4;
        let mut deframer = Deframer::default();
        deframer.push(wire.slice(..cut));
        assert_eq!(deframer.next(), Ok(None));
        deframer.push(wire.slice(cut..));
        let (first, _) = deframer.next().unwrap().unwrap();
        let (second, _) = deframer.next().unwrap().unwrap();
        assert_eq!((&first[..], &second[..]), (&[1; 3_000][..], &[2; 3_000][..]));
        assert_eq!(second.as_ptr(), wire[wire.len() - 3_000..].as_ptr());
        assert_eq!(deframer.finish(), Ok(()));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_messages(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
            stamps in any::<(u32, u32)>(),
            cuts in prop::collection::vec(1usize..200, 1..50),
        ) {
            let mut wire = BytesMut::new();
            for message in &messages {
                // As a relay forwards it, with its stamp.
                let frame = Frame {
                    noise: message.clone().into(),
                    queue_ns: stamps.0.into(),
                    forward_ns: stamps.1.into(),
                    version: 0,
                };
                wire.put_u8(0);
                wire.put_u32(frame.encoded_len() as u32);
                frame.encode(&mut wire).unwrap();
            }
            let mut wire = wire.freeze();
            let mut deframer = Deframer::default();
            let mut got = Vec::new();
            let mut cuts = cuts.iter().cycle();
            while !wire.is_empty() {
                let chunk = wire.split_to((*cuts.next().unwrap()).min(wire.len()));
                deframer.push(chunk);
                while let Some((noise, stamp)) = deframer.next().unwrap() {
                    prop_assert_eq!(stamp.queue_ns, u64::from(stamps.0));
                    prop_assert_eq!(stamp.forward_ns, u64::from(stamps.1));
                    got.push(noise.to_vec());
                }
            }
            prop_assert_eq!(got, messages);
            prop_assert_eq!(deframer.finish(), Ok(()));
        }

        #[test]
        fn no_chunks_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
            let mut deframer = Deframer::default();
            'stream: for chunk in chunks {
                deframer.push(chunk.into());
                loop {
                    match deframer.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
        }
    }
}
