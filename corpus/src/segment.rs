//! Reads the blocks of a segment, in order, in bounded memory.
//!
//! Bytes that are no block are passed over to the next block, and reported once for each gap.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::block::{Block, INDEX_BYTES, Index, MAGIC, NoBlock, is_right};
use crate::limits::{BLOCK_BYTES_MAX, READ_BYTES};
use crate::lock::Lock;

/// Bytes of a segment that are no block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub len: u64,
    /// The segment ends with them: an append was interrupted.
    pub is_tail: bool,
    /// The version of the format, if a newer version wrote them.
    pub version: Option<u8>,
}

/// The next part of a segment.
#[derive(Debug)]
pub enum Item<'a> {
    /// A block.
    Block(Block<'a>),
    /// Bytes that are no block.
    Gap(Gap),
}

/// Whether a file with this beginning is a segment.
pub fn is_segment(beginning: &[u8]) -> bool {
    beginning.starts_with(&MAGIC)
}

/// Opens a segment, up to the last trace that is complete now: the active segment may be written to at the same time.
///
/// # Errors
/// Those of the file.
pub fn open(path: &Path) -> io::Result<io::Take<File>> {
    let file = File::open(path)?;
    // Without the lock, if this user may not open it, a trace that is just being appended looks torn.
    let directory = path.parent().unwrap_or(Path::new("."));
    let lock = Lock::existing(directory, FlockOperation::LockShared);
    let len = file.metadata()?.len();
    drop(lock);
    Ok(file.take(len))
}

/// Reads a segment.
pub struct SegmentReader<R> {
    input: R,
    buffer: Vec<u8>,
    /// The unread bytes of the buffer begin here.
    start: usize,
    /// Position of the buffer's beginning in the segment.
    base: u64,
    /// Length of the block that was returned last.
    returned: usize,
    is_ended: bool,
}

impl<R: Read> SegmentReader<R> {
    /// Reads from the beginning of `input`.
    pub fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            start: 0,
            base: 0,
            returned: 0,
            is_ended: false,
        }
    }

    /// Where the next item begins.
    pub fn offset(&self) -> u64 {
        self.base + (self.start + self.returned) as u64
    }

    /// The next block or gap; `None` at the end.
    ///
    /// # Errors
    /// Those of the input.
    pub fn next_item(&mut self) -> io::Result<Option<Item<'_>>> {
        self.start += std::mem::take(&mut self.returned);
        let offset = self.offset();
        let mut version = None;
        loop {
            match self.block()? {
                Found::Block(index) if self.offset() == offset => {
                    self.returned = index.block_len();
                    let block = Block::of(index, &self.buffer[self.start..], offset);
                    return Ok(Some(Item::Block(block)));
                }
                Found::Block(_) => break,
                Found::Nothing(newer) => version = version.or(newer),
            }
            if self.available() == 0 {
                break;
            }
            self.skip()?;
        }
        let len = self.offset() - offset;
        let is_tail = self.available() == 0;
        Ok((len > 0).then_some(Item::Gap(Gap {
            offset,
            len,
            is_tail,
            version,
        })))
    }

    /// Whether a whole block begins here.
    fn block(&mut self) -> io::Result<Found> {
        if !self.fill(INDEX_BYTES)? {
            return Ok(Found::Nothing(None));
        }
        let Some(index) = self.buffer[self.start..].first_chunk() else {
            return Ok(Found::Nothing(None));
        };
        let index = match Index::parse(index) {
            Ok(index) => index,
            Err(NoBlock::Other) => return Ok(Found::Nothing(None)),
            Err(NoBlock::Version(version)) => return Ok(Found::Nothing(Some(version))),
        };
        if !self.fill(index.block_len())? {
            return Ok(Found::Nothing(None));
        }
        Ok(match is_right(index, &self.buffer[self.start..]) {
            true => Found::Block(index),
            false => Found::Nothing(None),
        })
    }

    /// Moves to the next byte that may begin a block, or to the end of what was read.
    fn skip(&mut self) -> io::Result<()> {
        self.start += 1;
        self.fill(MAGIC.len())?;
        let rest = &self.buffer[self.start..];
        let next = rest.windows(MAGIC.len()).position(|window| window == MAGIC);
        // The magic number may continue in the bytes that follow.
        let keep = if self.is_ended { 0 } else { MAGIC.len() - 1 };
        self.start += next.unwrap_or(rest.len().saturating_sub(keep));
        Ok(())
    }

    fn available(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Reads until `len` bytes are available; whether they are.
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        debug_assert!(len <= BLOCK_BYTES_MAX);
        if self.available() >= len {
            return Ok(true);
        }
        self.buffer.drain(..self.start);
        self.base += std::mem::take(&mut self.start) as u64;
        while self.buffer.len() < len && !self.is_ended {
            let wanted = READ_BYTES.max(len - self.buffer.len()) as u64;
            let read = self.input.by_ref().take(wanted).read_to_end(&mut self.buffer)?;
            self.is_ended = (read as u64) < wanted;
        }
        Ok(self.buffer.len() >= len)
    }
}

enum Found {
    Block(Index),
    /// No block; the version, if a newer one wrote it.
    Nothing(Option<u8>),
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
