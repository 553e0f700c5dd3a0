//! `traceparent`: trace id, parent id and flags, as 55 characters or as 25 bytes.
//!
//! Reads any version that Level 2 defines parsing for, and writes version 00. A parsed value can always be written, and
//! has no zero id.

use std::fmt;

use opentelemetry::{SpanId, TraceFlags, TraceId};

use super::grammar::trim_ows;

/// Sampled and random (Level 2, section 3.2.2.5); the rest is reserved and must be sent as zero.
const KNOWN_FLAGS: u8 = 0b11;

/// Forbidden by Level 2, section 3.2.2.1.
const INVALID_VERSION: u8 = 0xff;

/// A valid traceparent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    trace_id: TraceId,
    span_id: SpanId,
    flags: TraceFlags,
}

impl Traceparent {
    /// Characters of version 00, the only version that is written.
    pub const LEN: usize = 55;

    /// Bytes of the binary form: 16 trace id, 8 span id, 1 flags.
    pub const BINARY_LEN: usize = 25;

    /// `None` if an id is zero (Level 2, sections 3.2.2.3 and 3.2.2.4). Unknown flags are cleared.
    pub fn new(trace_id: TraceId, span_id: SpanId, flags: TraceFlags) -> Option<Self> {
        let valid = trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
        valid.then_some(Self {
            trace_id,
            span_id,
            flags: flags & TraceFlags::new(KNOWN_FLAGS),
        })
    }

    /// Reads a header value, with optional white space around it (Level 2, sections 3.2.2 and 3.2.4). `None` if it is
    /// malformed: the receiver then starts a new trace.
    ///
    /// ```
    /// use baton_trace::w3c::Traceparent;
    ///
    /// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";
    /// assert_eq!(Traceparent::parse(text).unwrap().to_string(), text);
    /// assert_eq!(Traceparent::parse(text.to_uppercase()), None);
    /// ```
    pub fn parse(value: impl AsRef<[u8]>) -> Option<Self> {
        let (fields, rest) = trim_ows(value.as_ref()).split_first_chunk::<{ Self::LEN }>()?;
        let [version] = from_hex(&fields[..2])?;
        let acceptable = match (version, rest) {
            (INVALID_VERSION, _) => false,
            (_, []) => true,
            (0, _) => false,
            (_, [next, ..]) => *next == b'-',
        };
        if !acceptable || [fields[2], fields[35], fields[52]] != *b"---" {
            return None;
        }
        let [flags] = from_hex(&fields[53..])?;
        Self::new(
            TraceId::from_bytes(from_hex(&fields[3..35])?),
            SpanId::from_bytes(from_hex(&fields[36..52])?),
            TraceFlags::new(flags),
        )
    }

    /// The header value, version 00.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut text = *b"00-................................-................-..";
        to_hex(&self.trace_id.to_bytes(), &mut text[3..35]);
        to_hex(&self.span_id.to_bytes(), &mut text[36..52]);
        to_hex(&[self.flags.to_u8()], &mut text[53..]);
        text
    }

    /// Reads the binary form; `None` unless it is exactly [`Self::BINARY_LEN`] bytes without a zero id.
    pub fn decode_binary(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BINARY_LEN] = bytes.try_into().ok()?;
        let (trace_id, rest) = bytes.split_first_chunk()?;
        let (span_id, flags) = rest.split_first_chunk()?;
        Self::new(
            TraceId::from_bytes(*trace_id),
            SpanId::from_bytes(*span_id),
            TraceFlags::new(*flags.first()?),
        )
    }

    /// The binary form.
    pub fn encode_binary(&self) -> [u8; Self::BINARY_LEN] {
        let mut bytes = [0; Self::BINARY_LEN];
        bytes[..16].copy_from_slice(&self.trace_id.to_bytes());
        bytes[16..24].copy_from_slice(&self.span_id.to_bytes());
        bytes[24] = self.flags.to_u8();
        bytes
    }

    /// The trace; never zero.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The parent span for the receiver; never zero.
    pub fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// Sampled and random, and nothing else.
    pub fn flags(&self) -> TraceFlags {
        self.flags
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.encode()).map_err(|_| fmt::Error)?)
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// What [`NIBBLES`] holds for every byte that is no lowercase hexadecimal digit.
const NO_DIGIT: u8 = 0xff;

static NIBBLES: [u8; 256] = nibbles();

const fn nibbles() -> [u8; 256] {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        table[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    table
}

/// `hex` holds 2 × `N` characters.
fn from_hex<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(hex.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| NIBBLES[usize::from(digit)]);
        seen |= high | low;
        *byte = (high << 4) | (low & 0x0f);
    }
    (seen <= 0x0f).then_some(bytes)
}

/// `hex` has room for two characters per byte.
fn to_hex(bytes: &[u8], hex: &mut [u8]) {
    for (pair, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0x0f)]];
    }
}
