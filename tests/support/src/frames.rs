//! Encoders of single frames of the multiplexer, gRPC and HTTP/2, for tests with peers that violate the protocol.

/// The numbers of the multiplexer's frame kinds, from `docs/PROTOCOL.md`.
pub mod kind {
    /// Opens a stream.
    pub const HEAD: u8 = 1;
    /// Carries a part of a message.
    pub const DATA: u8 = 2;
    /// Ends a call with its status.
    pub const TRAILERS: u8 = 3;
    /// Ends a stream at once.
    pub const RESET: u8 = 4;
    /// Grants credit.
    pub const CREDIT: u8 = 5;
    /// Requests a `Pong`.
    pub const PING: u8 = 6;
    /// Ends the session.
    pub const GO_AWAY: u8 = 8;
    /// The sender encrypts its next message with the new key.
    pub const SWITCH: u8 = 9;
    /// A handshake message of a rekey.
    pub const REKEY: u8 = 10;
}

/// A frame of the multiplexer, without flags.
///
/// # Panics
/// If the body is longer than the length field can hold.
pub fn mux(kind: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a body fits a frame");
    [&[kind, 0], &len.to_be_bytes()[..], &stream.to_be_bytes(), body].concat()
}

/// A message of gRPC, uncompressed, in its length-prefixed frame.
///
/// # Panics
/// If the message is longer than the length field can hold.
pub fn grpc(message: &impl prost::Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let len = u32::try_from(message.len()).expect("a message fits a frame");
    [&[0], &len.to_be_bytes()[..], &message].concat()
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
///
/// # Panics
/// If the payload is longer than the length field can hold.
pub fn http2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a payload fits a frame");
    [
        &len.to_be_bytes()[1..],
        &[kind, flags],
        &stream.to_be_bytes(),
        payload,
    ]
    .concat()
}
