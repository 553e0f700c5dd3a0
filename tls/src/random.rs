//! Randomness from the operating system.

use rustls::crypto::{GetRandomFailed, SecureRandom};

/// getrandom(2).
#[derive(Debug)]
pub(crate) struct OsRandom;

impl SecureRandom for OsRandom {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(buf).map_err(|_| GetRandomFailed)
    }
}

/// A system without randomness.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct NoRandom;

#[cfg(test)]
impl SecureRandom for NoRandom {
    fn fill(&self, _: &mut [u8]) -> Result<(), GetRandomFailed> {
        Err(GetRandomFailed)
    }
}
