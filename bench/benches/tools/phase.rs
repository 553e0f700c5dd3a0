//! The phases of a run, each of which returns rows, and what they share.

mod copy;
mod copy_tree;
mod git;
mod rsync;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use baton_bench::packages::{is_installed, succeed};
use baton_bench::ssh::Ssh;
use baton_bench::stats::{Bar, Bootstrap, Statistic};
use baton_bench::{Failure, Phase, ProcessSets, Row, Unit};
use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::options::Plan;
use crate::peers::{Baton, Remote};
use crate::sources::{self, Size};

/// Bytes that sources and copies take, with a margin.
const MEMORY: u64 = 4_000_000_000;

/// All phases by name, in order.
pub(crate) const ALL: [(&str, Phase<BenchContext>); 4] = [
    ("rsync", rsync::measure),
    ("git", git::measure),
    ("copy", copy::measure),
    ("copy-tree", copy_tree::measure),
];

/// The names of all phases.
pub(crate) fn names() -> [&'static str; ALL.len()] {
    ALL.map(|(name, _)| name)
}

/// The state that all phases share.
pub(crate) struct BenchContext {
    pub(crate) plan: Plan,
    bootstrap: Bootstrap,
    /// Sources and copies are below it, on one file system.
    directory: TempDir,
}

impl BenchContext {
    pub(crate) fn new(plan: Plan, seed: u64, directory: Option<&Path>) -> io::Result<Self> {
        let below = directory.map_or_else(default_directory, Path::to_owned);
        println!("copies between two directories in {}\n", below.display());
        Ok(Self {
            plan,
            bootstrap: Bootstrap::new(seed, plan.resamples),
            directory: TempDir::with_prefix_in("baton-tools-", below)?,
        })
    }

    /// A path for this name.
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Both directions of a copy of `source`.
    fn both_directions(
        &self,
        source: &Path,
        compared: &Compared<'_>,
        copying: Copying,
    ) -> Result<Vec<Row>, Failure> {
        let copy = self.path("copy");
        let expected = sources::size(source)?;
        let check = || is_whole(&copy, expected);
        let mut rows = Vec::new();
        for direction in ["upload", "download"] {
            let compared = Compared {
                id: &format!("{}_{direction}", compared.id),
                what: &format!("{}, {direction}", compared.what),
                ..*compared
            };
            let command = |remote: &dyn Remote| {
                let (near, far) = (
                    |path: &Path| path.display().to_string(),
                    |path: &Path| remote.place(path),
                );
                match direction {
                    "upload" => copying(remote, near(source), far(&copy)),
                    _ => copying(remote, far(source), near(&copy)),
                }
            };
            rows.extend(self.compare(&compared, &copy, &command, &check)?);
        }
        remove(source)?;
        Ok(rows)
    }

    /// Measures a command over Baton and over `ssh -J`. It writes to `copy`, which is removed before each visit, and
    /// which `check` looks at after it.
    fn compare(
        &self,
        compared: &Compared<'_>,
        copy: &Path,
        command: &dyn Fn(&dyn Remote) -> Result<Command, Failure>,
        check: &dyn Fn() -> Result<(), Failure>,
    ) -> Result<Vec<Row>, Failure> {
        let Compared { id, what, bar, .. } = *compared;
        let absent = |why: String| {
            let row = Row::absent(format!("{id}_over_ssh"), what, Unit::Times, why).bar(Some(bar));
            Ok(vec![row])
        };
        if let Some(missing) = compared.needs.iter().find(|program| !is_installed(program)) {
            return absent(format!(
                "{missing} is not installed; as root, --install-ssh installs it"
            ));
        }
        let ssh = match Ssh::start() {
            Ok(ssh) => ssh,
            Err(why) => return absent(why.to_string()),
        };
        let once = |remote: &dyn Remote| -> Result<f64, Failure> {
            remove(copy)?;
            let mut command = command(remote)?;
            let began = Instant::now();
            succeed(&mut command)?;
            let took = began.elapsed().as_secs_f64();
            check().map_err(|error| format!("{command:?}: {error}"))?;
            Ok(took)
        };
        // The page cache has the source from now on.
        once(&ssh)?;
        let start = |_| {
            let baton = Baton::start()?;
            // Its processes are new, those of ssh are not.
            once(&baton)?;
            Ok(baton)
        };
        // The second ssh is for A against A.
        let visit = |baton: &Baton, visited: usize| match visited {
            0 => Ok([vec![once(baton)?]]),
            _ => Ok([vec![once(&ssh)?]]),
        };
        let stop = |baton: Baton| {
            drop(baton);
            Ok(())
        };
        let [measured] = compared.sets.measure(3, start, visit, stop)?;
        remove(copy)?;
        let [own, peer, peer_again] = &measured[..] else {
            return Err("not three participants".into());
        };
        let ratio = |over| self.bootstrap.ratio(over, peer, Statistic::Mean);
        let mut rows = vec![
            Row::new(format!("{id}_over_ssh"), what, Unit::Times, ratio(own), own)
                .noise(ratio(peer_again))
                .bar(Some(bar)),
        ];
        for (of, name, samples) in [("baton", "Baton", own), ("ssh", "the peer", peer)] {
            let estimate = self.bootstrap.value(samples, Statistic::Mean).times(1e3);
            let what = format!("{what}: {name}");
            rows.push(Row::new(
                format!("{id}_{of}"),
                what,
                Unit::Milliseconds,
                estimate,
                samples,
            ));
        }
        Ok(rows)
    }
}

/// Memory, if there is enough: on ext4 a copy takes up to three times as long if a tree was removed within the last
/// minutes, because the kernel does not use the inodes of the removed files yet.
fn default_directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match statvfs(memory) {
        Ok(of) if of.f_bavail.saturating_mul(of.f_frsize) >= MEMORY => memory.to_owned(),
        _ => std::env::temp_dir(),
    }
}

/// What a phase compares.
#[derive(Clone, Copy)]
struct Compared<'a> {
    id: &'a str,
    what: &'a str,
    bar: Bar,
    sets: ProcessSets,
    /// Programs that it needs, beside OpenSSH.
    needs: &'a [&'a str],
}

/// The command that copies from one place to another.
type Copying = fn(&dyn Remote, String, String) -> Result<Command, Failure>;

/// Fails unless all files and bytes are there.
fn is_whole(copy: &Path, expected: Size) -> Result<(), Failure> {
    match sources::size(copy)? {
        whole if whole == expected => Ok(()),
        part => Err(format!("{part:?} of {expected:?} were copied").into()),
    }
}

/// Removes a file or a tree, if it exists.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
