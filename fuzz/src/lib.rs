//! What fuzz targets are made of. A target is a plain function over bytes that asserts what must hold whatever they are; it
//! stands beside the decoder that it is about, in its crate's `fuzz` module, and is driven in two ways:
//!
//! * `cargo test` replays the committed [`corpus`] and some mutations of it ([`replay()`]), with nothing installed;
//! * `fuzz/run` lets libFuzzer look for new ways through the code (`fuzz/libfuzzer`).
//!
//! [`Input`] reads structure out of the bytes, and [`Script`] writes what it reads, so that seeds can be made of real encodings.
//! The `arbitrary` crate takes lengths from the end of its input: nobody could write a seed for it.
//!
//! Nothing here is part of the product: the crates use this in tests, and with their feature `fuzz`.

pub mod corpus;
mod input;
mod mutate;
mod replay;

pub use input::{Input, Script};
pub use replay::replay;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: that of its folder in `fuzz/corpus`, and what `fuzz/run` is told.
    pub name: &'static str,
    /// Panics if something does not hold. Must not depend on anything but the bytes, as far as it can.
    pub run: fn(&[u8]),
    /// Inputs to begin from, made of real encodings and of attacks; the same each time. Committed as `seed-NAME`.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}
