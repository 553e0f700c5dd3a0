//! A corpus of traces: a directory of segments, to which many processes append the traces of their commands.
//!
//! ```text
//! call record ──► part ──► body: a document ──► frame: zstd, dictionary ──► block ──► active segment (under the lock)
//!                                                                                        │ 1 MiB, or a day
//!                                  segment with many traces a frame ◄── compact ◄── closed segment
//! ```
//!
//! * [`part`]: spans of one trace, as a process recorded them; [`record`] makes them of call records;
//! * [`body`]: their encoding before compression: in columns, without ids that follow from others;
//! * [`dictionary`]: the zstd dictionary that is shipped; every frame names it;
//! * `block`: a frame with an index of trace ids and a check; [`segment`] reads the blocks of a file;
//! * [`Corpus`]: appends; [`compact`](compact()) recompresses closed segments.
//!
//! docs/decisions/corpus.md describes the format and says why it is so.
//!
//! An append is one write under a lock. What a crash leaves of it is found by the next append and removed, and readers
//! pass over it and say so. Every appended trace stays readable while segments are rotated and recompressed.

mod block;
pub mod body;
mod compact;
mod corpus;
pub mod dictionary;
mod error;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod limits;
mod lock;
mod name;
pub mod part;
#[cfg(feature = "record")]
pub mod record;
#[cfg(feature = "samples")]
#[doc(hidden)]
pub mod samples;
pub mod segment;

pub use block::Block;
pub use compact::{Compacted, compact};
pub use corpus::{Appended, Corpus};
pub use error::CorpusError;
pub use name::is_segment as is_segment_name;

#[cfg(test)]
mod tests;
