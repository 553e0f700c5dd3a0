//! The encoding of a trace part before compression.
//!
//! A trace of 24 spans has less than 200 bytes that no other trace has: its ids and times. Everything else is the same in
//! most traces. So the encoding has three columns:
//!
//! ```text
//! document = varint(length) structure, varint(length) numbers, raw
//! ```
//!
//! * *structure*: names, keys, text, and for each span the positions of its start and end among the sorted times. zstd
//!   finds long repetitions in it.
//! * *numbers*: the sorted times as differences, and integers, as varints.
//! * *raw*: ids. A span id that follows from a call id ([`baton_trace::stage::span_id`]) is not stored, and neither are
//!   the hexadecimal digits of UUIDs and process ids: 16 bytes each, once.
//!
//! Decoding gives exactly what was encoded. The input of the decoder is untrusted.

mod decode;
mod encode;
mod varint;

pub use self::decode::{BodyError, decode};
pub use self::encode::encode;
use crate::part::TracePart;

/// Appends the document of `part`, after its length.
pub(crate) fn append_document(part: &TracePart<'_>, out: &mut Vec<u8>) {
    let mut document = Vec::new();
    encode(part, &mut document);
    varint::write(out, document.len() as u64);
    out.extend_from_slice(&document);
}

/// Takes the next document from the front of `from`.
pub(crate) fn take_document<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint::read(from)?).ok()?;
    let (document, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(document)
}

/// How a span's id, or its parent's, is written.
mod id_form {
    /// There is no parent.
    pub(super) const NONE: u8 = 0;
    /// Eight bytes of the raw column, which become a call id that others may be derived from.
    pub(super) const RAW: u8 = 1;
    /// Of a parent: the position of a span in the document.
    pub(super) const SPAN: u8 = 2;
    /// Of a span: derived from a call id, a stage and an attempt.
    pub(super) const DERIVED: u8 = 2;
    /// A call id that was written before.
    pub(super) const KNOWN: u8 = 3;
}

/// Bits of a span's first byte, above the forms of its parent's id (bits 0 and 1) and its own (bits 2 and 3).
mod has {
    pub(super) const TRACE_STATE: u8 = 1 << 4;
    pub(super) const STATUS: u8 = 1 << 5;
    pub(super) const LINKS: u8 = 1 << 6;
    pub(super) const DROPPED_ATTRIBUTES: u8 = 1 << 7;
}

/// Kinds of values.
mod kind {
    pub(super) const EMPTY: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const INT: u8 = 2;
    pub(super) const FALSE: u8 = 3;
    pub(super) const TRUE: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const ARRAY: u8 = 7;
    pub(super) const MAP: u8 = 8;
    /// 32 hexadecimal digits.
    pub(super) const HEX: u8 = 9;
    /// Text that ends in a UUID.
    pub(super) const UUID: u8 = 10;
}

#[cfg(test)]
mod tests;
