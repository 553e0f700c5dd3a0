//! Appends trace parts to the active segment of a directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use crate::block::{self, END_BYTES, INDEX_BYTES, Index};
use crate::body;
use crate::dictionary::FrameWriter;
use crate::error::CorpusError;
use crate::limits::{APPEND_LEVEL, FRAME_BYTES_MAX, SEGMENT_AGE, SEGMENT_BYTES};
use crate::lock::Lock;
use crate::name;
use crate::part::TracePart;
use crate::segment::{Item, SegmentReader};

/// A directory of segments.
#[derive(Debug)]
pub struct Corpus {
    directory: PathBuf,
    segment_bytes: u64,
}

/// What an append did beside appending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// It began a new segment, and there was one before, which [`compact`](crate::compact()) can recompress now.
    pub closed_a_segment: bool,
    /// Bytes of an interrupted append that it removed from the end of the active segment, also of one that it closed.
    pub torn_bytes: u64,
}

impl Corpus {
    /// Opens a directory for appending; makes it, for this user alone, if it does not exist.
    ///
    /// # Errors
    /// [`CorpusError`]: nothing can be written there.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, CorpusError> {
        let directory = directory.into();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(|source| CorpusError::MakeDirectory {
            path: directory.clone(),
            source,
        })?;
        // An append would fail after the command has run.
        Lock::create(&directory).map_err(CorpusError::write(&directory))?;
        let is_writable = rustix::fs::access(&directory, rustix::fs::Access::WRITE_OK);
        is_writable
            .map_err(io::Error::from)
            .map_err(CorpusError::write(&directory))?;
        Ok(Self {
            directory,
            segment_bytes: SEGMENT_BYTES,
        })
    }

    /// Begins a new segment after fewer bytes.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Appends a part of a trace. The work does not depend on the size of the corpus, except after an interrupted
    /// append, when the active segment is read once.
    ///
    /// # Errors
    /// [`CorpusError`]: the part is not in the corpus.
    pub fn append(&self, part: &TracePart<'_>) -> Result<Appended, CorpusError> {
        let mut document = Vec::new();
        body::append_document(part, &mut document);
        if document.len() > FRAME_BYTES_MAX {
            return Err(CorpusError::TooLong {
                len: document.len(),
                max: FRAME_BYTES_MAX,
            });
        }
        let frame = FrameWriter::new(APPEND_LEVEL).and_then(|mut frames| frames.compress(&document));
        let frame = frame.map_err(CorpusError::write(&self.directory))?;
        let block = block::encoded(&[part.trace_id], &frame, false);

        let lock = Lock::create(&self.directory).map_err(CorpusError::write(&self.directory))?;
        let active = lock.active().map_err(CorpusError::read(&self.directory))?;
        let mut appended = Appended::default();
        if name::is_segment(&active) {
            let path = self.directory.join(&active);
            match self.end(&path, &active, block.len() as u64) {
                Ok(end) => {
                    appended.torn_bytes = end.torn_bytes;
                    if end.has_room {
                        write_at_end(&end.file, end.len, &block).map_err(CorpusError::write(&path))?;
                        return Ok(appended);
                    }
                    appended.closed_a_segment = true;
                }
                // Somebody deleted it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(CorpusError::Write { path, source }),
            }
        }
        let name = name::new(now_secs());
        let path = self.directory.join(&name);
        let file = options().create_new(true).open(&path);
        let file = file.map_err(CorpusError::write(&path))?;
        lock.set_active(&name).map_err(CorpusError::write(&path))?;
        write_at_end(&file, 0, &block).map_err(CorpusError::write(&path))?;
        Ok(appended)
    }

    /// The end of the active segment. Removes what an interrupted append left of its block.
    fn end(&self, path: &Path, name: &str, more: u64) -> io::Result<SegmentEnd> {
        let age = now_secs().saturating_sub(name::created_secs(name));
        let file = options().open(path)?;
        let len = file.metadata()?.len();
        let whole = whole_len(&file, len)?;
        if whole < len {
            file.set_len(whole)?;
        }
        let is_full = whole > 0 && whole + more > self.segment_bytes;
        let is_old = whole > 0 && age > SEGMENT_AGE.as_secs();
        Ok(SegmentEnd {
            file,
            len: whole,
            torn_bytes: len - whole,
            has_room: !is_full && !is_old,
        })
    }
}

struct SegmentEnd {
    file: File,
    /// Bytes of whole blocks.
    len: u64,
    /// Bytes that were removed behind them.
    torn_bytes: u64,
    /// It is neither full nor old.
    has_room: bool,
}

/// Where the last whole block of a segment ends.
fn whole_len(file: &File, len: u64) -> io::Result<u64> {
    if len == 0 || ends_with_block(file, len)? {
        return Ok(len);
    }
    let mut reader = SegmentReader::new(file.try_clone()?);
    io::Seek::rewind(&mut file.try_clone()?)?;
    let mut whole = 0;
    while let Some(item) = reader.next_item()? {
        if let Item::Block(_) = item {
            whole = reader.offset();
        }
    }
    Ok(whole)
}

/// Whether the last bytes are a whole block. A segment that was not interrupted needs no more than this.
fn ends_with_block(file: &File, len: u64) -> io::Result<bool> {
    let mut end = [0; END_BYTES];
    let Some(end_at) = len.checked_sub(END_BYTES as u64) else {
        return Ok(false);
    };
    file.read_exact_at(&mut end, end_at)?;
    let block_at = block::ended_len(&end).and_then(|block| len.checked_sub(block));
    let Some(block_at) = block_at.filter(|at| len - at > INDEX_BYTES as u64) else {
        return Ok(false);
    };
    let mut index = [0; INDEX_BYTES];
    file.read_exact_at(&mut index, block_at)?;
    let Ok(index) = Index::parse(&index) else {
        return Ok(false);
    };
    if index.block_len() as u64 != len - block_at {
        return Ok(false);
    }
    let mut block = vec![0; index.block_len()];
    file.read_exact_at(&mut block, block_at)?;
    Ok(block::is_right(index, &block))
}

/// Writes all of the block, or leaves the file as it was.
fn write_at_end(mut file: &File, len: u64, block: &[u8]) -> io::Result<()> {
    file.write_all(block).inspect_err(|_| {
        // Otherwise the next append removes the rest.
        let _ = file.set_len(len);
    })
}

/// Segments are this user's alone: a trace has names of programs, machines and threads, and times.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options
        .read(true)
        .append(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed());
    options
}

fn now_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
