//! Disk faults by command, under the real SQLite: slow and stalled syncs, a full disk, a failing one, short writes.
//!
//! A test binary that uses this crate has its `write`, `pwrite`, `pwrite64`, `ftruncate`, `ftruncate64`, `fsync` and `fdatasync` from
//! [`call`], not from the C library: the linker takes the first definition that it meets, and SQLite, which is linked into the same
//! binary, gets it too. So it is SQLite's own Unix layer that meets the error, with its own retries, error codes and rollbacks; no
//! layer of it is replaced.
//!
//! A [`Disk`] is a directory: faults hit the files below it and nothing else in the process, so tests can run side by side. Where no
//! fault is set a call costs one atomic load more than the C library's.
//!
//! Loaded by `LD_PRELOAD` it is under a program that knows nothing of it, such as the real `baton` in a benchmark; the environment then
//! says what fails: `BATON_FAULTS_SLOW_SYNC=MS:DIR`, each sync below that directory takes so much longer.
//!
//! For tests alone. Nothing that is shipped may depend on it.

pub mod call;
mod disk;

pub use disk::{Disk, Fault, Syncs};
