//! Support for fuzz targets. A target is a plain function over bytes that asserts invariants for any input. It is
//! beside the decoder that it tests, in its crate's `fuzz` module, and runs in two ways:
//!
//! * `cargo test` replays the committed [`corpus`] and some mutations of it ([`replay()`]), with nothing installed;
//! * `fuzz/run` searches for new code paths with libFuzzer (`fuzz/libfuzzer`).
//!
//! [`Input`] reads structure out of the bytes, and [`Script`] writes what it reads, so that seeds can be made of real
//! encodings. The `arbitrary` crate reads lengths from the end of its input, so seeds for it could not be written.
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
    /// The name of its folder in `fuzz/corpus`, and the argument of `fuzz/run`.
    pub name: &'static str,
    /// Panics if an invariant does not hold. Depends only on the bytes, as far as possible.
    pub run: fn(&[u8]),
    /// Initial inputs, made of real encodings and of attacks; deterministic. Committed as `seed-NAME`.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}
