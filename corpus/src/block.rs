//! A block: a zstd frame with the documents of one or more trace parts, and what is needed to find and check it.
//!
//! ```text
//! block = index, frame, end
//! index = skippable frame { "BTN" version, flags, parts, frame length, check, part × 16 bytes of trace id }
//! frame = zstd frame { part × (varint(length), document) }
//! end   = skippable frame { length of the block }
//! ```
//!
//! Numbers are little-endian. `zstd -d` skips the frames around the data. The check covers the index and the frame, so
//! that a torn or damaged block is found without decompressing it. The end lets an appender check the last block of a
//! segment without reading the others.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use crate::body;
use crate::dictionary::{FrameError, FrameReader};
use crate::limits::DATA_BYTES_MAX;
use crate::part::TracePart;

/// The magic number of the skippable frames (RFC 8878, section 3.1.2: any of sixteen).
pub(crate) const MAGIC: [u8; 4] = 0x184d_2a5b_u32.to_le_bytes();
const MARKER: [u8; 3] = *b"BTN";
/// The version of this format.
const VERSION: u8 = 1;
/// The block was written by a recompression.
const COMPACTED: u8 = 1;
/// Skippable header, marker, version, flags, parts, frame length, check.
pub(crate) const INDEX_BYTES: usize = 8 + 4 + 1 + 2 + 4 + 4;
pub(crate) const END_BYTES: usize = 12;

/// What the fixed part of an index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Index {
    pub parts: usize,
    pub frame_len: usize,
    pub is_compacted: bool,
    check: u32,
}

/// Why bytes are no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoBlock {
    /// They are something else.
    Other,
    /// A newer version wrote them.
    Version(u8),
}

impl Index {
    /// Reads the fixed part.
    pub(crate) fn parse(bytes: &[u8; INDEX_BYTES]) -> Result<Self, NoBlock> {
        if bytes[..4] != MAGIC || bytes[8..11] != MARKER {
            return Err(NoBlock::Other);
        }
        let version = bytes[11];
        if version != VERSION {
            return Err(NoBlock::Version(version));
        }
        let parts = usize::from(u16::from_le_bytes([bytes[13], bytes[14]]));
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let frame_len = number(15) as usize;
        let is_right =
            parts > 0 && frame_len <= DATA_BYTES_MAX && number(4) as usize == INDEX_BYTES - 8 + 16 * parts;
        match is_right {
            true => Ok(Self {
                parts,
                frame_len,
                is_compacted: bytes[12] & COMPACTED != 0,
                check: number(19),
            }),
            false => Err(NoBlock::Other),
        }
    }

    /// Length of the whole block.
    pub(crate) fn block_len(&self) -> usize {
        INDEX_BYTES + 16 * self.parts + self.frame_len + END_BYTES
    }
}

/// A block that was checked.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// Where it begins in its segment.
    pub offset: u64,
    ids: &'a [u8],
    frame: &'a [u8],
    /// A recompression wrote it.
    pub is_compacted: bool,
}

impl<'a> Block<'a> {
    /// The fields of a block that [`is_right`] was asked of.
    pub(crate) fn of(index: Index, bytes: &'a [u8], offset: u64) -> Self {
        let block = &bytes[..index.block_len() - END_BYTES];
        let (ids, frame) = block[INDEX_BYTES..].split_at(16 * index.parts);
        Self {
            offset,
            ids,
            frame,
            is_compacted: index.is_compacted,
        }
    }

    /// The trace id of each part.
    pub fn trace_ids(&self) -> impl Iterator<Item = u128> + use<'a> {
        let (ids, _) = self.ids.as_chunks();
        ids.iter().map(|id| u128::from_be_bytes(*id))
    }

    /// Decompresses the frame into `buffer`, and hands each part to `deliver`, or the error in its place.
    ///
    /// # Errors
    /// [`FrameError`]: no part can be read.
    pub fn parts(
        &self,
        reader: &mut FrameReader,
        buffer: &mut Vec<u8>,
        mut deliver: impl FnMut(Result<TracePart<'_>, body::BodyError>),
    ) -> Result<(), FrameError> {
        reader.decompress(self.frame, buffer)?;
        let mut documents = &buffer[..];
        for id in self.trace_ids() {
            let document = body::take_document(&mut documents).ok_or(FrameError::Damaged)?;
            deliver(body::decode(id, document));
        }
        match documents.is_empty() {
            true => Ok(()),
            false => Err(FrameError::Damaged),
        }
    }
}

/// Whether `bytes` begin with the whole block that `index` announces.
pub(crate) fn is_right(index: Index, bytes: &[u8]) -> bool {
    let Some(bytes) = bytes.get(..index.block_len()) else {
        return false;
    };
    let (block, end) = bytes.split_at(bytes.len() - END_BYTES);
    end == end_of(bytes.len()) && index.check == check(block)
}

/// The bytes of a block.
pub(crate) fn encoded(ids: &[u128], frame: &[u8], is_compacted: bool) -> Vec<u8> {
    let index_len = INDEX_BYTES + 16 * ids.len();
    let mut block = Vec::with_capacity(index_len + frame.len() + END_BYTES);
    block.extend(MAGIC);
    block.extend(((index_len - 8) as u32).to_le_bytes());
    block.extend(MARKER);
    block.push(VERSION);
    block.push(if is_compacted { COMPACTED } else { 0 });
    block.extend((ids.len() as u16).to_le_bytes());
    block.extend((frame.len() as u32).to_le_bytes());
    block.extend([0; 4]);
    for id in ids {
        block.extend(id.to_be_bytes());
    }
    block.extend_from_slice(frame);
    let check = check(&block);
    block[INDEX_BYTES - 4..INDEX_BYTES].copy_from_slice(&check.to_le_bytes());
    block.extend(end_of(block.len() + END_BYTES));
    block
}

/// Finds accidents, not attacks: whoever can change the file can change the check.
fn check(block: &[u8]) -> u32 {
    let mut hasher = SipHasher13::new();
    hasher.write(&block[..INDEX_BYTES - 4]);
    hasher.write(&block[INDEX_BYTES..]);
    hasher.finish() as u32
}

pub(crate) fn end_of(block_len: usize) -> [u8; END_BYTES] {
    let mut end = [0; END_BYTES];
    end[..4].copy_from_slice(&MAGIC);
    end[4] = 4;
    end[8..].copy_from_slice(&(block_len as u32).to_le_bytes());
    end
}

/// The length of the block that these last bytes of a segment end.
pub(crate) fn ended_len(end: &[u8; END_BYTES]) -> Option<u64> {
    let len = u32::from_le_bytes([end[8], end[9], end[10], end[11]]);
    (*end == end_of(len as usize)).then_some(len.into())
}
