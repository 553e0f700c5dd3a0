//! The program whose output is streamed, and the contents that it writes.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use baton_bench::Failure;

/// Bytes of one write: the default capacity of a pipe.
const PIECE: usize = 64 * 1024;

/// A line that begins and ends as a JSON object does and is none, because it has one brace too many: only a scan of the
/// whole line shows that.
const LINE: &[u8] =
    b"{\"type\":\"delta\",\"index\":0,\"text\":\"the quick brown fox jumps over the lazy dog\"}}\n";

/// Output without the ready marker of `jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Pseudo-random bytes without a newline.
    Garbage,
    /// Lines that are no JSON object.
    Lines,
}

impl Content {
    const ALL: [Self; 2] = [Self::Garbage, Self::Lines];

    /// Its name in requests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Lines => "lines",
        }
    }

    /// About [`PIECE`] bytes that may be repeated.
    fn piece(self) -> Vec<u8> {
        match self {
            Self::Garbage => {
                // Xorshift: the same bytes in every process.
                let mut state = 0x2545_f491_u32;
                let mut next = || {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    state.to_le_bytes()[0]
                };
                (0..PIECE)
                    .map(|_| match next() {
                        b'\n' => b' ',
                        byte => byte,
                    })
                    .collect()
            }
            Self::Lines => LINE.repeat(PIECE / LINE.len()),
        }
    }
}

/// Writes `bytes` bytes of a content to stdout.
pub(super) fn write(content: &str, mut bytes: u64) -> Result<(), Failure> {
    let content = Content::ALL.into_iter().find(|known| known.name() == content);
    let piece = content.ok_or("no such content")?.piece();
    // The standard library's stdout would buffer by line.
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    while bytes > 0 {
        let written = bytes.min(piece.len() as u64);
        stdout.write_all(&piece[..written as usize])?;
        bytes -= written;
    }
    Ok(())
}
