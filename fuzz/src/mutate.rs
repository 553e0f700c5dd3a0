//! A few mutations of an input, without coverage guidance: a regression check between long runs of libFuzzer.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _};

/// Longest input that mutations make.
const MAX: usize = 64 * 1024;

/// Values at which lengths and counters overflow.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// Spoils `bytes` in one to eight places, sometimes with a piece of `other`.
pub(crate) fn mutate(random: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..random.random_range(1..=8) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..7) {
            0 => flip(random, bytes),
            1 => overwrite(random, bytes, at),
            2 => bytes.truncate(at),
            3 => {
                let len = random.random_range(0..=16).min(bytes.len() - at);
                drop(bytes.drain(at..at + len));
            }
            4 => {
                let mut new = vec![0; random.random_range(1..=16)];
                random.fill_bytes(&mut new);
                insert(bytes, at, &new);
            }
            5 => {
                let len = random.random_range(0..=64).min(bytes.len() - at);
                let again = bytes[at..at + len].to_vec();
                insert(bytes, at, &again);
            }
            _ => {
                let from = random.random_range(0..=other.len());
                let len = random.random_range(0..=other.len() - from);
                insert(bytes, at, &other[from..from + len]);
            }
        }
    }
}

fn flip(random: &mut StdRng, bytes: &mut [u8]) {
    if !bytes.is_empty() {
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
    }
}

fn overwrite(random: &mut StdRng, bytes: &mut [u8], at: usize) {
    let edge = EDGES.choose(random).copied().unwrap_or_default().to_be_bytes();
    let len = [1, 2, 4, 8]
        .choose(random)
        .copied()
        .unwrap_or(1)
        .min(bytes.len() - at);
    bytes[at..at + len].copy_from_slice(&edge[8 - len..]);
}

fn insert(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    let room = MAX.saturating_sub(bytes.len());
    let new = &new[..new.len().min(room)];
    bytes.splice(at..at, new.iter().copied());
}
