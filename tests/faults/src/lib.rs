//! Injected disk faults under the real SQLite: slow and stalled syncs, a full disk, a failing disk, short writes.
//!
//! A test binary that uses this crate gets its `write`, `pwrite`, `pwrite64`, `ftruncate`, `ftruncate64`, `fsync` and
//! `fdatasync` from [`call`] instead of the C library: the linker takes the first definition, also for SQLite, which is
//! linked into the same binary. The error therefore reaches SQLite's own Unix layer, with its retries, error codes and
//! rollbacks. No layer of SQLite is replaced.
//!
//! A [`Disk`] is a directory. Its fault affects only files below it, so tests can run concurrently. Without a disk, a
//! call costs one atomic load more than that of the C library.
//!
//! `LD_PRELOAD` loads it into an unchanged program, such as the real `baton` in a benchmark. The environment then sets
//! the fault: `BATON_FAULTS_SLOW_SYNC=MS:DIR` delays each sync below DIR by MS milliseconds.
//!
//! Only for tests and benchmarks. Shipped code must not depend on it.

pub mod call;
mod disk;

pub use disk::{Disk, Fault, Syncs};
