//! The frame header: 8 bytes, big endian: type `u8`, flags `u8`, length of the body `u16`, stream `u32`.
//!
//! Types 1 to 127 are required: a receiver that does not know one ends the session. Types 128 to 255 are optional: a
//! receiver that does not know one skips the frame.
//!
//! Bodies: `Data` raw bytes; `Reset` a `u32` gRPC status code; `Credit` a `u32` of bytes; `Switch` nothing; `Rekey`
//! nothing or a Noise handshake message; everything else the protobuf message of its name in `baton.channel.v1`.
//!
//! The multiplexer does not handle `Switch` and `Rekey`: each is alone in a message, which the application reads and
//! writes.

use bytes::{Buf, BufMut, Bytes};

/// Number of a stream; 0 is the session itself.
pub type StreamId = u32;

/// Bytes of a header.
pub const HEADER_LEN: usize = 8;

/// Flag of `Data`: the sender half-closes the stream.
const END_STREAM: u8 = 0x01;

/// The lowest type number that a receiver skips if it does not know it.
const FIRST_OPTIONAL: u8 = 128;

/// Type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Opens a stream, or begins its answer.
    Head = 1,
    /// Bytes of a stream.
    Data = 2,
    /// Ends an answer.
    Trailers = 3,
    /// Ends a stream early.
    Reset = 4,
    /// More bytes may be sent on a stream.
    Credit = 5,
    /// Asks for a `Pong`.
    Ping = 6,
    /// Answers a `Ping`.
    Pong = 7,
    /// The sender takes no further stream.
    GoAway = 8,
    /// The following messages are sealed with the new key.
    Switch = 9,
    /// A handshake message of a rekey, or a request for a rekey.
    Rekey = 10,
    /// The client's version and features: the first frame of a session.
    Hello = 11,
    /// Any optional type: this version defines none, so it skips them and sends none.
    Optional = FIRST_OPTIONAL,
}

impl Kind {
    /// Whether a message whose first frame has this type belongs to a rekey.
    pub fn is_of_keys(kind: u8) -> bool {
        kind == Self::Switch as u8 || kind == Self::Rekey as u8
    }
}

/// The bytes are not a valid frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than a header, or than its length field.
    #[error("truncated")]
    Truncated,
    /// A required type that this version does not know.
    #[error("unknown required type {0}: the end that sent it is newer, or does not speak this protocol")]
    UnknownType(u8),
    /// Flags that are not defined for the type.
    #[error("undefined flags {0:#04x}")]
    Flags(u8),
    /// A body that does not parse, or is longer than its limit.
    #[error("bad {0} body")]
    Body(&'static str),
    /// A session frame with a stream number, or a stream frame without one.
    #[error("wrong stream")]
    Stream,
}

/// A frame as received; the body shares the message's buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: Kind,
    /// On `Data`: the sender half-closes the stream.
    pub end: bool,
    /// Its stream; 0 is the session.
    pub stream: StreamId,
    /// The bytes after the header.
    pub body: Bytes,
}

/// Appends a header.
pub fn put_header(out: &mut impl BufMut, kind: Kind, end: bool, stream: StreamId, len: usize) {
    debug_assert!(len <= usize::from(u16::MAX));
    out.put_u8(kind as u8);
    out.put_u8(if end { END_STREAM } else { 0 });
    out.put_u16(len as u16);
    out.put_slice(&stream.to_be_bytes());
}

/// Splits the next frame off a message; `None` at its end.
pub fn next(message: &mut Bytes) -> Result<Option<Frame>, FrameError> {
    if message.is_empty() {
        return Ok(None);
    }
    if message.len() < HEADER_LEN {
        return Err(FrameError::Truncated);
    }
    let kind = message.get_u8();
    let flags = message.get_u8();
    let len = usize::from(message.get_u16());
    let stream = message.get_u32();
    if message.len() < len {
        return Err(FrameError::Truncated);
    }
    let kind = match kind {
        1 => Kind::Head,
        2 => Kind::Data,
        3 => Kind::Trailers,
        4 => Kind::Reset,
        5 => Kind::Credit,
        6 => Kind::Ping,
        7 => Kind::Pong,
        8 => Kind::GoAway,
        9 => Kind::Switch,
        10 => Kind::Rekey,
        11 => Kind::Hello,
        FIRST_OPTIONAL.. => {
            // A later version defines its flags, stream and body.
            let body = message.split_to(len);
            return Ok(Some(Frame {
                kind: Kind::Optional,
                end: false,
                stream,
                body,
            }));
        }
        other => return Err(FrameError::UnknownType(other)),
    };
    if flags != 0 && !(kind == Kind::Data && flags == END_STREAM) {
        return Err(FrameError::Flags(flags));
    }
    let of_session = matches!(
        kind,
        Kind::Ping | Kind::Pong | Kind::GoAway | Kind::Switch | Kind::Rekey | Kind::Hello
    );
    if of_session != (stream == 0) {
        return Err(FrameError::Stream);
    }
    Ok(Some(Frame {
        kind,
        end: flags == END_STREAM,
        stream,
        body: message.split_to(len),
    }))
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
    fn the_header_is_stable() {
        let mut out = Vec::new();
        put_header(&mut out, Kind::Data, true, 0x0102_0304, 0x0506);
        assert_eq!(out, [2, 1, 5, 6, 1, 2, 3, 4]);
    }

    #[test]
    fn each_unknown_type_is_skipped_or_refused_by_its_number() {
        for number in 0..=u8::MAX {
            // Flags and a stream that no type of this version allows together.
            let mut message = Bytes::from(vec![number, 0xff, 0, 2, 0, 0, 0, 0, 7, 7]);
            let taken = next(&mut message);
            match number {
                1..=11 => assert_eq!(taken, Err(FrameError::Flags(0xff))),
                0 | 12..=127 => {
                    assert_eq!(taken, Err(FrameError::UnknownType(number)));
                    let said = taken.unwrap_err().to_string();
                    assert!(said.contains(&format!("type {number}")), "{said}");
                }
                128.. => {
                    let frame = taken.unwrap().unwrap();
                    assert_eq!((frame.kind, &frame.body[..]), (Kind::Optional, &[7, 7][..]));
                    assert_eq!(next(&mut message), Ok(None));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn frames_round_trip(stream in 1u32.., end: bool, body in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut out = Vec::new();
            put_header(&mut out, Kind::Data, end, stream, body.len());
            out.extend_from_slice(&body);
            let mut message = Bytes::from(out);
            let frame = next(&mut message).unwrap().unwrap();
            prop_assert_eq!(frame, Frame { kind: Kind::Data, end, stream, body: body.into() });
            prop_assert_eq!(next(&mut message), Ok(None));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut message = Bytes::from(bytes);
            while let Ok(Some(_)) = next(&mut message) {}
        }
    }
}
