//! What is copied: made once, with the same content in every run.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use baton_bench::Failure;
use baton_bench::packages::succeed;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// Files of a part of the tree and the bytes of each: 10 MB in all.
const PART: [(u32, usize); 3] = [(200, 16 * 1024), (25, 128 * 1024), (3, 1_150_000)];

/// Files of a directory of small files, and bytes of each.
const SMALL: (u32, usize) = (100, 4 * 1024);

/// Files of the repository, and lines of each. A commit changes [`CHANGED`] lines of one file.
const TRACKED: usize = 400;
const LINES: usize = 80;
const CHANGED: usize = 5;

/// Files and their bytes, without directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Size {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

fn random() -> StdRng {
    StdRng::seed_from_u64(16)
}

/// A directory of `parts` directories with files of three sizes, which cannot be compressed.
pub(crate) fn tree(at: &Path, parts: u32) -> Result<(), Failure> {
    let mut random = random();
    for part in 0..parts {
        for (kind, (files, bytes)) in PART.into_iter().enumerate() {
            let directory = at.join(format!("part{part}")).join(format!("kind{kind}"));
            files_of(&directory, files, bytes, &mut random)?;
        }
    }
    Ok(())
}

/// A directory of `directories` with small files.
pub(crate) fn small_files(at: &Path, directories: u32) -> Result<(), Failure> {
    let mut random = random();
    let (files, bytes) = SMALL;
    for number in 0..directories {
        files_of(&at.join(format!("directory{number}")), files, bytes, &mut random)?;
    }
    Ok(())
}

fn files_of(directory: &Path, files: u32, bytes: usize, random: &mut StdRng) -> Result<(), Failure> {
    fs::create_dir_all(directory)?;
    let mut content = vec![0; bytes];
    for number in 0..files {
        random.fill_bytes(&mut content);
        fs::write(directory.join(format!("file{number}")), &content)?;
    }
    Ok(())
}

/// One file, which cannot be compressed. `bytes` is a multiple of 1 MiB.
pub(crate) fn file(at: &Path, bytes: u64) -> Result<(), Failure> {
    let (mut random, mut piece) = (random(), vec![0; 1 << 20]);
    let mut file = fs::File::create(at)?;
    for _ in 0..bytes >> 20 {
        random.fill_bytes(&mut piece);
        file.write_all(&piece)?;
    }
    Ok(())
}

/// A bare repository with one branch of `commits` commits, packed as a server keeps it.
pub(crate) fn repository(at: &Path, commits: u32) -> Result<(), Failure> {
    fs::create_dir_all(at)?;
    succeed(git(at).args(["init", "--quiet", "--bare", "--initial-branch=main"]))?;
    let mut import = git(at);
    let mut import = import
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut stream = BufWriter::new(import.stdin.take().ok_or("no pipe")?);
    let mut random = random();
    let mut files: Vec<Vec<u64>> = (0..TRACKED)
        .map(|_| (0..LINES).map(|_| random.random()).collect())
        .collect();
    for commit in 0..commits as usize {
        // All files exist once there are as many commits.
        let number = match commit {
            first if first < TRACKED => first,
            _ => random.random_range(0..TRACKED),
        };
        for _ in 0..CHANGED {
            files[number][random.random_range(0..LINES)] = random.random();
        }
        let message = format!("Change file {number}, {commit}\n");
        let lines: String = files[number]
            .iter()
            .map(|line| format!("{line:016x} {line:016x}\n"))
            .collect();
        let time = 1_700_000_000 + commit;
        write!(
            stream,
            "commit refs/heads/main\ncommitter B <b@localhost> {time} +0000\ndata {}\n{message}\n\
             M 100644 inline directory{}/file{number}\ndata {}\n{lines}\n",
            message.len(),
            number % 20,
            lines.len(),
        )?;
    }
    stream.flush()?;
    drop(stream);
    if !import.wait()?.success() {
        return Err("`git fast-import` failed".into());
    }
    succeed(git(at).args(["repack", "-a", "-d", "-f", "-q"]))?;
    Ok(())
}

/// git in this directory, without the settings of the system and the user.
pub(crate) fn git(directory: &Path) -> Command {
    let mut git = Command::new("git");
    set_plain(&mut git);
    git.current_dir(directory);
    git
}

/// Keeps git from reading the settings of the system and the user.
pub(crate) fn set_plain(git: &mut Command) {
    git.env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
}

/// The files at and below a path.
pub(crate) fn size(at: &Path) -> Result<Size, Failure> {
    let status = fs::symlink_metadata(at)?;
    if !status.is_dir() {
        return Ok(Size {
            files: 1,
            bytes: status.len(),
        });
    }
    let mut all = Size::default();
    for entry in fs::read_dir(at)? {
        let Size { files, bytes } = size(&entry?.path())?;
        all.files += files;
        all.bytes += bytes;
    }
    Ok(all)
}
