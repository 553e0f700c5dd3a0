//! The zstd dictionary that ships with this version, and the compressors that use it.
//!
//! `cargo run -p baton-corpus --example dictionary` trains it again from made-up traces. A frame names the dictionary
//! that it was compressed with. A dictionary must never change without a new id, and an old one stays readable: add the
//! new file to [`DICTIONARIES`], the newest last.

use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use crate::limits::FRAME_BYTES_MAX;

/// All dictionaries that frames may name.
pub const DICTIONARIES: &[&[u8]] = &[include_bytes!("dictionary-1.bin")];

/// The dictionary of new frames.
fn newest() -> &'static [u8] {
    DICTIONARIES.last().copied().unwrap_or_default()
}

/// The id of a dictionary; 0 if it is none.
pub(crate) fn id(dictionary: &[u8]) -> u32 {
    zstd_safe::get_dict_id_from_dict(dictionary).map_or(0, |id| id.get())
}

/// Compresses frames.
pub(crate) struct FrameWriter(Compressor<'static>);

impl FrameWriter {
    pub(crate) fn new(level: i32) -> io::Result<Self> {
        Ok(Self(Compressor::with_dictionary(level, newest())?))
    }

    pub(crate) fn compress(&mut self, data: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(data)
    }
}

/// Why a frame could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame was written by a version with another dictionary.
    #[error(
        "compressed with dictionary {id}, which this version does not have; use the version that wrote it, or a newer one"
    )]
    UnknownDictionary {
        /// The id of the dictionary.
        id: u32,
    },
    /// The content would exceed the limit.
    #[error("a frame of {len} bytes is longer than the limit of {FRAME_BYTES_MAX}")]
    TooLong {
        /// Its length.
        len: u64,
    },
    /// The frame is damaged.
    #[error("damaged zstd frame")]
    Damaged,
}

/// Decompresses frames.
pub struct FrameReader {
    /// By dictionary, as soon as a frame needs it.
    decompressors: Vec<Option<Decompressor<'static>>>,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self {
            decompressors: DICTIONARIES.iter().map(|_| None).collect(),
        }
    }
}

impl FrameReader {
    /// Replaces `out` by the content of a frame.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decompress(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let named = zstd_safe::get_dict_id_from_frame(frame).map_or(0, |id| id.get());
        let index = DICTIONARIES
            .iter()
            .position(|dictionary| id(dictionary) == named)
            .ok_or(FrameError::UnknownDictionary { id: named })?;
        let len = match zstd_safe::get_frame_content_size(frame) {
            Ok(Some(len)) => len,
            Ok(None) | Err(_) => return Err(FrameError::Damaged),
        };
        if len > FRAME_BYTES_MAX as u64 {
            return Err(FrameError::TooLong { len });
        }
        let decompressor = match &mut self.decompressors[index] {
            Some(known) => known,
            none => {
                let made = Decompressor::with_dictionary(DICTIONARIES[index]);
                none.insert(made.map_err(|_| FrameError::Damaged)?)
            }
        };
        out.clear();
        out.reserve(len as usize);
        let written = decompressor.decompress_to_buffer(frame, out);
        match written {
            Ok(written) if written as u64 == len => Ok(()),
            _ => Err(FrameError::Damaged),
        }
    }
}
