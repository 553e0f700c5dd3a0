//! Recompresses closed segments, with several traces in a frame.
//!
//! A segment is written to a temporary file, synced, and renamed over the old one. So a reader has the old segment or
//! the new one, each with all its traces, and so does the disk after a crash. A segment with bytes that are no block,
//! or with a frame that this version cannot read, stays as it is. Of a segment that was recompressed before only the
//! first index is read, 23 bytes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::block::{self, Block, INDEX_BYTES, Index};
use crate::corpus::options;
use crate::dictionary::{FrameReader, FrameWriter};
use crate::error::CorpusError;
use crate::limits::{COMPACT_LEVEL, FRAME_BYTES, FRAME_TRACES};
use crate::lock::Lock;
use crate::name;
use crate::segment::{Item, SegmentReader};

/// What a recompression did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments that were recompressed.
    pub segments: u64,
    /// Trace parts in them.
    pub parts: u64,
    /// Their bytes before.
    pub bytes_before: u64,
    /// Their bytes after.
    pub bytes_after: u64,
    /// Segments that stay as they are, because a part of them is not readable. Those that were recompressed before are
    /// not looked at.
    pub damaged: u64,
}

/// Recompresses the closed segments of a corpus; with `close_active` also the active one, which this closes.
///
/// # Errors
/// [`CorpusError`]. Segments that were recompressed before stay so.
pub fn compact(directory: &Path, close_active: bool) -> Result<Compacted, CorpusError> {
    let listed = list(directory)?;
    let names = closed_of(listed, directory, close_active)?;
    let mut compacted = Compacted::default();
    for name in names {
        segment(directory, &name, &mut compacted)?;
    }
    Ok(compacted)
}

/// The segments that there are, in order. Removes temporary files that were abandoned.
fn list(directory: &Path) -> Result<Vec<String>, CorpusError> {
    let mut names = Vec::new();
    for entry in directory.read_dir().map_err(CorpusError::read(directory))? {
        let entry = entry.map_err(CorpusError::read(directory))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name::is_temporary(&name) {
            remove_abandoned(&directory.join(&name));
        } else if name::is_segment(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The closed ones of segments that were listed before. A segment that begins after the active one was looked up would
/// be taken for a closed one, and what is appended to it meanwhile would be lost.
fn closed_of(
    mut listed: Vec<String>,
    directory: &Path,
    close_active: bool,
) -> Result<Vec<String>, CorpusError> {
    let lock = Lock::create(directory).map_err(CorpusError::write(directory))?;
    if close_active {
        lock.set_active("").map_err(CorpusError::write(directory))?;
    }
    let active = lock.active().map_err(CorpusError::read(directory))?;
    listed.retain(|name| *name != active);
    Ok(listed)
}

/// Removes a temporary file that nobody writes to any more.
fn remove_abandoned(path: &Path) {
    let is_free = File::open(path).is_ok_and(|file| is_locked(&file));
    if is_free {
        // The next recompression tries again.
        let _ = fs::remove_file(path);
    }
}

fn is_locked(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn segment(directory: &Path, name: &str, compacted: &mut Compacted) -> Result<(), CorpusError> {
    let path = directory.join(name);
    let file = match File::open(&path) {
        // Somebody deletes old segments.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(CorpusError::read(&path))?,
    };
    let metadata = file.metadata().map_err(CorpusError::read(&path))?;
    // Locked: another process recompresses it. Another inode: one has done so since.
    let is_same = |found: fs::Metadata| (found.dev(), found.ino()) == (metadata.dev(), metadata.ino());
    if !metadata.is_file() || is_compacted(&file).map_err(CorpusError::read(&path))? {
        return Ok(());
    }
    if !is_locked(&file) || !fs::metadata(&path).is_ok_and(is_same) {
        return Ok(());
    }
    let temporary = directory.join(name::temporary(name));
    let written = rewrite(file, &temporary);
    let parts = match written {
        Ok(Rewritten::Whole { parts }) => parts,
        stopped => {
            // The next recompression removes it otherwise.
            let _ = fs::remove_file(&temporary);
            compacted.damaged += u64::from(matches!(stopped, Ok(Rewritten::Damaged)));
            return stopped.map(|_| ()).map_err(CorpusError::write(&temporary));
        }
    };
    let after = fs::metadata(&temporary)
        .map_err(CorpusError::read(&temporary))?
        .len();
    fs::rename(&temporary, &path).map_err(CorpusError::write(&path))?;
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(CorpusError::write(directory))?;
    compacted.segments += 1;
    compacted.parts += parts;
    compacted.bytes_before += metadata.len();
    compacted.bytes_after += after;
    Ok(())
}

/// Whether a recompression wrote the segment. It replaces a whole segment, so the first index says so for all blocks.
fn is_compacted(file: &File) -> io::Result<bool> {
    let mut index = [0; INDEX_BYTES];
    match file.read_exact_at(&mut index, 0) {
        Ok(()) => Ok(Index::parse(&index).is_ok_and(|index| index.is_compacted)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

enum Rewritten {
    Whole { parts: u64 },
    Empty,
    Damaged,
}

fn rewrite(from: File, to: &Path) -> io::Result<Rewritten> {
    let mut reader = SegmentReader::new(from);
    let mut frames = FrameReader::default();
    let mut content = Vec::new();
    // Made at the first block that needs it.
    let mut writer = None;
    let mut parts = 0;
    while let Some(item) = reader.next_item()? {
        let block = match item {
            Item::Block(block) => block,
            Item::Gap(_) => return Ok(Rewritten::Damaged),
        };
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(BlockWriter::create(to)?),
        };
        // Decoded, so that nothing replaces the segment that readers cannot read.
        let mut is_right = true;
        let read = block.parts(&mut frames, &mut content, |part| is_right &= part.is_ok());
        if read.is_err() || !is_right {
            return Ok(Rewritten::Damaged);
        }
        parts += writer.push(&block, &content)?;
    }
    match writer {
        Some(writer) => writer.finish().map(|()| Rewritten::Whole { parts }),
        None => Ok(Rewritten::Empty),
    }
}

/// Collects documents into blocks.
struct BlockWriter {
    out: BufWriter<File>,
    frames: FrameWriter,
    ids: Vec<u128>,
    content: Vec<u8>,
}

impl BlockWriter {
    fn create(path: &Path) -> io::Result<Self> {
        let file = options().create_new(true).open(path)?;
        // The file is this process's as long as it is open. Another one may hold the lock for a moment, to try it.
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self {
            out: BufWriter::new(file),
            frames: FrameWriter::new(COMPACT_LEVEL)?,
            ids: Vec::new(),
            content: Vec::new(),
        })
    }

    /// Adds the parts of a block, and returns how many.
    fn push(&mut self, block: &Block<'_>, content: &[u8]) -> io::Result<u64> {
        let before = self.ids.len();
        if before > 0 && self.content.len() + content.len() > FRAME_BYTES {
            self.flush()?;
        }
        let known = self.ids.len();
        self.ids.extend(block.trace_ids());
        let added = (self.ids.len() - known) as u64;
        self.content.extend_from_slice(content);
        if self.ids.len() >= FRAME_TRACES {
            self.flush()?;
        }
        Ok(added)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let frame = self.frames.compress(&self.content)?;
        self.out.write_all(&block::encoded(&self.ids, &frame, true))?;
        self.ids.clear();
        self.content.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.out.into_inner().map_err(io::Error::from)?.sync_all()
    }
}
