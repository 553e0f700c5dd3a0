//! The temporary file of traces that are open when memory is full.
//!
//! Traces are written in parts by their id. A part is read back whole, so all pieces of a trace meet there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::limits::SPILL_PARTS;
use crate::model::{SpillError, Trace};

/// An unnamed file in the directory for temporary files.
pub(super) struct Spill {
    file: File,
    len: u64,
    /// The pieces of each part: offset and length.
    parts: Vec<Vec<(u64, usize)>>,
}

impl Spill {
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile()?,
            len: 0,
            parts: vec![Vec::new(); SPILL_PARTS],
        })
    }

    /// Bytes written.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Appends the traces.
    pub(super) fn write(&mut self, traces: impl Iterator<Item = Trace>) -> io::Result<()> {
        let mut by_part: Vec<_> = traces.map(|trace| (part_of(&trace), trace)).collect();
        // Stable: traces of a part stay in the order of their first span.
        by_part.sort_by_key(|(part, _)| *part);
        let mut bytes = Vec::new();
        let mut left = by_part.into_iter().peekable();
        while let Some((part, trace)) = left.next() {
            trace.encode(&mut bytes);
            drop(trace);
            if left.peek().is_none_or(|(next, _)| *next != part) {
                self.file.write_all_at(&bytes, self.len)?;
                self.parts[part].push((self.len, bytes.len()));
                self.len += bytes.len() as u64;
                bytes.clear();
            }
        }
        Ok(())
    }

    /// The traces of a part, in the order of their first span.
    pub(super) fn read(&self, part: usize) -> io::Result<Vec<Trace>> {
        let damaged = |error: SpillError| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut traces: Vec<Trace> = Vec::new();
        let mut known = HashMap::new();
        let mut bytes = Vec::new();
        for (offset, len) in &self.parts[part] {
            bytes.resize(*len, 0);
            self.file.read_exact_at(&mut bytes, *offset)?;
            let mut left = &bytes[..];
            while !left.is_empty() {
                let trace = Trace::decode(&mut left).map_err(damaged)?;
                match known.entry(trace.id()) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(traces.len());
                        traces.push(trace);
                    }
                    Entry::Occupied(at) => {
                        let joined = traces[*at.get()].append(trace);
                        joined.ok_or_else(|| io::Error::other("a trace has more than 4 GiB of text"))?;
                    }
                }
            }
        }
        Ok(traces)
    }
}

fn part_of(trace: &Trace) -> usize {
    // The last byte: some tools put the time into the first ones.
    usize::from(trace.id().to_bytes()[15]) % SPILL_PARTS
}
