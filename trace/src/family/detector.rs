//! Finds the ready marker of a family in output as it passes. No IO, no clock.
//!
//! The detector copies no output and allocates nothing: it holds a few machine words, whatever the output is. It looks
//! at [`FAMILY_OUTPUT_MAX`] bytes at most, so that a program which never shows its marker costs nothing after them. The
//! result does not depend on how output is divided into chunks, except for `text` and `prompt`, whose markers are
//! defined by chunks.

use super::event_stream::EventStream;
use super::json_lines::JsonLines;
use super::json_rpc::JsonRpc;
use super::prompt::Prompt;
use super::{Family, Unavailable};
use crate::limits::FAMILY_OUTPUT_MAX;

/// Finds the ready marker of a family in output as it passes, without copying it. Holds a few machine words.
#[derive(Debug)]
pub struct Detector {
    search: Search,
    /// Bytes of output that were looked at.
    looked_at: usize,
    mark: ByteOrderMark,
}

/// What a [`Detector`] knows after a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// The marker may follow.
    Searching,
    /// The marker is complete.
    Ready {
        /// Its end in the chunk. At the end of output it is 0.
        end: usize,
    },
    /// The detector has stopped for this reason. The marker is unavailable.
    Stopped(Unavailable),
}

#[derive(Debug)]
enum Search {
    JsonLines(JsonLines),
    JsonRpc(JsonRpc),
    EventStream(EventStream),
    Text,
    Prompt(Prompt),
    Over(Detection),
}

impl Detector {
    /// A detector at the beginning of output.
    pub fn new(family: Family) -> Self {
        let (search, mark) = match family {
            Family::JsonLines => (Search::JsonLines(JsonLines::new()), ByteOrderMark::default()),
            Family::JsonRpc => (Search::JsonRpc(JsonRpc::new()), ByteOrderMark::default()),
            Family::EventStream => (
                Search::EventStream(EventStream::default()),
                ByteOrderMark::default(),
            ),
            Family::Text => (Search::Text, ByteOrderMark::Passed),
            Family::Prompt => (Search::Prompt(Prompt::default()), ByteOrderMark::Passed),
        };
        Self {
            search,
            looked_at: 0,
            mark,
        }
    }

    /// Looks at the next chunk. After any other answer than [`Detection::Searching`] this answers the same again, at
    /// once.
    pub fn feed(&mut self, chunk: &[u8]) -> Detection {
        if let Search::Over(detection) = self.search {
            return detection;
        }
        let rest = FAMILY_OUTPUT_MAX - self.looked_at;
        let looked_at = &chunk[..rest.min(chunk.len())];
        self.looked_at += looked_at.len();
        let detection = match self.search(looked_at, looked_at.len() == chunk.len()) {
            Some(end) => Detection::Ready { end },
            None if self.looked_at == FAMILY_OUTPUT_MAX => {
                Detection::Stopped(match self.search.is_in_long_line() {
                    true => Unavailable::LineTooLong,
                    false => Unavailable::LookedAtLimit,
                })
            }
            None => return Detection::Searching,
        };
        self.over(detection)
    }

    /// Output has ended. An unterminated last line counts as a line if `is_complete`: the end was observed, and output
    /// was not cut.
    pub fn finish(&mut self, is_complete: bool) -> Detection {
        let detection = match &self.search {
            Search::Over(detection) => *detection,
            search if is_complete && search.ends_in_marker() => Detection::Ready { end: 0 },
            _ if self.looked_at == 0 => Detection::Stopped(Unavailable::NotSeen),
            search if search.had_long_line() => Detection::Stopped(Unavailable::LineTooLong),
            _ => Detection::Stopped(Unavailable::NotRecognised),
        };
        self.over(detection)
    }

    fn over(&mut self, detection: Detection) -> Detection {
        // A marker is in one chunk; in a later one it has no end.
        self.search = Search::Over(match detection {
            Detection::Ready { .. } => Detection::Ready { end: 0 },
            other => other,
        });
        detection
    }

    fn search(&mut self, chunk: &[u8], is_whole: bool) -> Option<usize> {
        let (skipped, missed) = self.mark.skip(chunk);
        if !missed.is_empty() {
            // Not a mark: these bytes of earlier chunks are part of the first line, and no marker is that short.
            self.search.feed(missed, false);
        }
        let end = self.search.feed(&chunk[skipped..], is_whole)?;
        Some(skipped + end)
    }
}

impl Search {
    fn feed(&mut self, chunk: &[u8], is_whole: bool) -> Option<usize> {
        match self {
            Self::JsonLines(lines) => lines.feed(chunk),
            Self::JsonRpc(messages) => messages.feed(chunk),
            Self::EventStream(events) => events.feed(chunk),
            Self::Text => (!chunk.is_empty()).then_some(chunk.len()),
            Self::Prompt(prompt) => prompt.feed(chunk, is_whole),
            Self::Over(_) => None,
        }
    }

    fn ends_in_marker(&self) -> bool {
        match self {
            Self::JsonLines(lines) => lines.ends_in_marker(),
            Self::JsonRpc(messages) => messages.ends_in_marker(),
            Self::EventStream(_) | Self::Text | Self::Prompt(_) | Self::Over(_) => false,
        }
    }

    fn is_in_long_line(&self) -> bool {
        match self {
            Self::JsonLines(lines) => lines.is_in_long_line(),
            Self::JsonRpc(messages) => messages.is_in_long_line(),
            Self::EventStream(events) => events.is_in_long_line(),
            Self::Prompt(prompt) => prompt.is_in_long_line(),
            Self::Text | Self::Over(_) => false,
        }
    }

    fn had_long_line(&self) -> bool {
        match self {
            Self::JsonLines(lines) => lines.had_long_line(),
            Self::JsonRpc(messages) => messages.had_long_line(),
            Self::EventStream(events) => events.had_long_line(),
            Self::Prompt(prompt) => prompt.had_long_line(),
            Self::Text | Self::Over(_) => false,
        }
    }
}

/// A byte order mark before the first line. A parser of JSON may ignore it (RFC 8259 section 8.1), and one of
/// server-sent events does.
#[derive(Debug, Clone, Copy)]
enum ByteOrderMark {
    /// This many bytes of it were seen.
    At(usize),
    Passed,
}

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl Default for ByteOrderMark {
    fn default() -> Self {
        Self::At(0)
    }
}

impl ByteOrderMark {
    /// How many bytes of `chunk` are of the mark, and bytes of earlier chunks that seemed to be and are not.
    fn skip(&mut self, chunk: &[u8]) -> (usize, &'static [u8]) {
        let Self::At(seen) = *self else { return (0, &[]) };
        let left = &BYTE_ORDER_MARK[seen..];
        let equal = chunk.iter().zip(left).take_while(|(a, b)| a == b).count();
        if equal == left.len() {
            *self = Self::Passed;
            (equal, &[])
        } else if equal == chunk.len() {
            *self = Self::At(seen + equal);
            (equal, &[])
        } else {
            *self = Self::Passed;
            (0, &BYTE_ORDER_MARK[..seen])
        }
    }
}
