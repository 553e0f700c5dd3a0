//! The bars of this benchmark: Baton's time over that of the peer through `ssh -J`.

use baton_bench::stats::Bar;

/// The same rsync.
pub(crate) const RSYNC: Bar = Bar::AtMost(0.9);

/// The same `git clone`.
pub(crate) const GIT: Bar = Bar::AtMost(0.9);

/// `baton cp` of one file over `scp -J`.
pub(crate) const COPY: Bar = Bar::AtMost(0.5);

/// `baton cp -r` of many files over rsync.
pub(crate) const COPY_TREE: Bar = Bar::AtMost(0.8);
