//! The options, and the amount of work.

use std::path::PathBuf;

use baton_bench::ProcessSets;

/// Measures tools that use ssh, over Baton and over `ssh -J`, and judges them by their bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
    /// Copy between two directories in this one [default: /dev/shm if 4 GB are free there, else the directory for
    /// temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Install OpenSSH, rsync and git with apt-get where they are missing; takes root
    #[arg(long)]
    pub(crate) install_ssh: bool,
}

/// The amount of work. A round visits each participant twice. Baton's processes are started anew for each set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Parts of the tree for rsync, of 10 MB each.
    pub(crate) tree_parts: u32,
    /// Sets of each direction of it.
    pub(crate) rsync: ProcessSets,
    /// Commits of the repository.
    pub(crate) commits: u32,
    /// Sets of clones of it.
    pub(crate) git: ProcessSets,
    /// Bytes of the file.
    pub(crate) file_bytes: u64,
    /// Sets of each direction of copying it. Few, because one upload by scp takes ten seconds and more.
    pub(crate) copy: ProcessSets,
    /// Directories of 100 files of 4 KiB each.
    pub(crate) small_directories: u32,
    /// Sets of each direction of copying them.
    pub(crate) copy_tree: ProcessSets,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// About ten minutes.
    pub(crate) const FULL: Self = Self {
        tree_parts: 20,
        rsync: sets(6),
        commits: 5_000,
        git: sets(12),
        file_bytes: 1 << 30,
        copy: sets(3),
        small_directories: 100,
        copy_tree: sets(9),
        resamples: 2_000,
    };

    /// About a minute.
    pub(crate) const QUICK: Self = Self {
        tree_parts: 5,
        rsync: sets(3),
        commits: 1_000,
        git: sets(3),
        file_bytes: 128 << 20,
        copy: sets(3),
        small_directories: 20,
        copy_tree: sets(3),
        ..Self::FULL
    };
}

const fn sets(sets: usize) -> ProcessSets {
    ProcessSets { sets, rounds: 1 }
}
