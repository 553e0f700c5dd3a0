//! Searches the memory of this process for secrets, byte by byte, after they were dropped.
//!
//! The search pattern is masked, so that the search does not find its own copy.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use zeroize::Zeroize as _;

use super::*;

/// A masked secret.
struct Masked {
    masked: Vec<u8>,
    mask: Vec<u8>,
}

impl Masked {
    /// Masks a secret without another copy of it in memory.
    fn of(secret: &[u8]) -> Self {
        let mut mask = vec![0; secret.len()];
        getrandom::fill(&mut mask).unwrap();
        let masked = secret.iter().zip(&mask).map(|(byte, mask)| byte ^ mask).collect();
        Self { masked, mask }
    }

    fn first(&self) -> u8 {
        self.masked[0] ^ self.mask[0]
    }

    fn is_at(&self, bytes: &[u8]) -> bool {
        let unmasked = self.masked.iter().zip(&self.mask);
        bytes.len() >= self.masked.len() && bytes.iter().zip(unmasked).all(|(byte, (a, b))| *byte == a ^ b)
    }
}

/// Number of copies of each secret in the writable memory of this process.
fn found<const N: usize>(secrets: [&Masked; N]) -> [usize; N] {
    const PART: usize = 64 * 1024;
    const PAGE: usize = 4096;
    const ZEROS: &[u8] = &[0; PAGE];
    let memory = File::open("/proc/self/mem").unwrap();
    let mut buffer = vec![0_u8; PART + 64];
    let own = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len() as u64;
    let mut counts = [0; N];
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let parse = |address| u64::from_str_radix(address, 16).unwrap();
        let (mut at, to) = (parse(from), parse(to));
        while at < to {
            let len = buffer.len().min(usize::try_from(to - at).unwrap());
            // A page that cannot be read was never written.
            let read = memory.read_at(&mut buffer[..len], at).unwrap_or(0);
            for page in (0..read.min(PART)).step_by(PAGE) {
                let page = page..read.min(PART).min(page + PAGE);
                if buffer[page.clone()] == ZEROS[..page.len()] {
                    // Most pages are zero, and searching them takes minutes.
                    continue;
                }
                for offset in page {
                    for (count, secret) in counts.iter_mut().zip(secrets) {
                        let is_here = buffer[offset] == secret.first() && secret.is_at(&buffer[offset..read]);
                        *count += usize::from(is_here && !own.contains(&(at + offset as u64)));
                    }
                }
            }
            at += PART as u64;
        }
    }
    // The buffer may contain a secret that was found.
    buffer.zeroize();
    counts
}

#[test]
fn what_is_secret_is_not_in_memory_any_more_once_it_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    Seed::generate().unwrap().write(&path).unwrap();
    let seed = Seed::read(&path).unwrap();
    let keys = seed.server_keys().unwrap();
    let secrets = [
        Masked::of(&**seed.0),
        Masked::of(&**keys.noise.private),
        Masked::of(seed.line()[file::FILE_TAG.len() + 1..].trim_end().as_bytes()),
    ];
    let secrets = [&secrets[0], &secrets[1], &secrets[2]];
    let alive = found(secrets);
    assert!(
        alive[0] > 0 && alive[1] > 0,
        "the search finds nothing: {alive:?}"
    );
    drop((seed, keys));
    assert_eq!(
        found(secrets),
        [0; 3],
        "copies of the seed, of the private key, of the file's text"
    );
}
