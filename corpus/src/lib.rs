//! A corpus of traces: a directory of segments, to which many processes append the traces of their commands.
//!
//! * [`part`]: spans of one trace, as a process recorded them;
//! * [`body`]: their encoding before compression: in columns, without ids that follow from others.

pub mod body;
pub mod limits;
pub mod part;
#[cfg(feature = "record")]
pub mod record;
#[cfg(feature = "samples")]
#[doc(hidden)]
pub mod samples;
