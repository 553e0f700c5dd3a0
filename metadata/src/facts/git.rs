//! The repository of a directory, its branch and its commit, read from files.
//!
//! git itself is never run: it costs a process, and reads a configuration that may name programs. The files that are
//! read are few and stable (gitrepository-layout): `.git` as a directory, or as a file that names one (worktrees,
//! submodules); `HEAD`; the branch in its own file or in `packed-refs`. In a repository with another ref format
//! (reftable) the commit is unknown.
//!
//! The files are untrusted: a command chooses the directory and may have written anything there. Only regular files are
//! read, up to a bound.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use baton_regular_file::RegularFile;

use crate::limits::{FACTS_PARENTS, GIT_FILE_BYTES, GIT_PACKED_BYTES};

/// The paths of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository {
    pub(super) root: PathBuf,
    /// The worktree's directory, with `HEAD`.
    git: PathBuf,
    /// The common directory of all worktrees, with the refs.
    common: PathBuf,
}

/// The branch and the commit that are checked out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct GitHead {
    /// Without `refs/heads/`; `None` for a detached head.
    pub(super) branch: Option<Vec<u8>>,
    /// In hexadecimal; `None` before the first commit.
    pub(super) commit: Option<String>,
}

/// Inode, modification time and size of the files that define what is checked out, to detect changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct HeadFingerprint(Vec<Option<(u64, i64, i64, u64)>>);

impl Repository {
    /// The repository of a directory. `None`: it is in none.
    pub(super) fn around(directory: &Path) -> Option<Self> {
        directory.ancestors().take(FACTS_PARENTS).find_map(Self::at)
    }

    fn at(root: &Path) -> Option<Self> {
        let dot = root.join(".git");
        let git = match dot.metadata().ok()? {
            found if found.is_dir() => dot,
            _ => {
                let text = read(&dot).ok()?;
                root.join(path_of(line(text.strip_prefix(b"gitdir:")?)))
            }
        };
        let common = match read(&git.join("commondir")) {
            Ok(text) => git.join(path_of(line(&text))),
            Err(_) => git.clone(),
        };
        // The same conditions as git's. An empty directory called `.git` is not a repository.
        let is_one = git.join("HEAD").exists() && common.join("objects").is_dir();
        is_one.then(|| Self {
            root: root.to_owned(),
            git,
            common,
        })
    }

    /// What is checked out, and the fingerprint of the files that define it.
    pub(super) fn head(&self) -> (GitHead, HeadFingerprint) {
        let stamp = |reference: Option<&OsStr>| {
            let own = [
                Some(self.git.join("HEAD")),
                reference.map(|name| self.common.join(name)),
            ];
            let files = own.into_iter().flatten().chain([self.common.join("packed-refs")]);
            HeadFingerprint(files.map(|file| stamp_of(&file)).collect())
        };
        let Ok(head) = read(&self.git.join("HEAD")) else {
            return (GitHead::default(), stamp(None));
        };
        let Some(name) = line(&head).strip_prefix(b"ref:").map(<[u8]>::trim_ascii) else {
            let commit = commit(line(&head));
            return (GitHead { branch: None, commit }, stamp(None));
        };
        // A ref name is a path below the refs. A name that leaves them is invalid.
        let is_name =
            name.starts_with(b"refs/") && !name.split(|byte| *byte == b'/').any(|part| part == b"..");
        if !is_name {
            return (GitHead::default(), stamp(None));
        }
        // Taken before the files are read, so that a change in between is detected.
        let stamp = stamp(Some(OsStr::from_bytes(name)));
        let loose = read(&self.common.join(OsStr::from_bytes(name))).ok();
        let commit = loose
            .and_then(|text| commit(line(&text)))
            .or_else(|| self.packed(name).ok().flatten());
        // A reftable repository has this name in `HEAD` for tools that do not support it.
        let branch = name
            .strip_prefix(b"refs/heads/")
            .filter(|name| *name != b".invalid");
        let branch = branch.map(<[u8]>::to_vec);
        (GitHead { branch, commit }, stamp)
    }

    /// Whether the files are unchanged.
    pub(super) fn is_unchanged(&self, since: &HeadFingerprint) -> bool {
        self.head().1 == *since
    }

    /// The commit of a branch in `packed-refs`: lines of `COMMIT NAME`.
    fn packed(&self, name: &[u8]) -> io::Result<Option<String>> {
        let file = File::from(RegularFile::open(&self.common.join("packed-refs"))?);
        let mut lines = BufReader::new(file.take(GIT_PACKED_BYTES));
        let mut text = Vec::new();
        loop {
            text.clear();
            if lines.read_until(b'\n', &mut text)? == 0 {
                return Ok(None);
            }
            if let Some(at) = text.iter().position(|byte| *byte == b' ')
                && line(&text[at + 1..]) == name
            {
                return Ok(commit(&text[..at]));
            }
        }
    }
}

/// Reads the first bytes of a regular file.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::from(RegularFile::open(path)?)
        .take(GIT_FILE_BYTES)
        .read_to_end(&mut text)?;
    Ok(text)
}

fn line(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii()
}

fn path_of(text: &[u8]) -> PathBuf {
    std::ffi::OsString::from_vec(text.to_vec()).into()
}

/// A SHA-1 or SHA-256 hash in hexadecimal, or `None`.
fn commit(text: &[u8]) -> Option<String> {
    let is_hash = matches!(text.len(), 40 | 64) && text.iter().all(u8::is_ascii_hexdigit);
    String::from_utf8(text.to_ascii_lowercase())
        .ok()
        .filter(|_| is_hash)
}

fn stamp_of(file: &Path) -> Option<(u64, i64, i64, u64)> {
    let found = file.metadata().ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    /// Runs git, which only tests do.
    fn git(at: &Path, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(at)
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@t",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", at);
        let output = git.output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn repository() -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("work");
        fs::create_dir_all(root.join("a/b")).unwrap();
        git(&root, &["init", "-q"]);
        (dir, root)
    }

    fn head(at: &Path) -> (PathBuf, Option<String>, Option<String>) {
        let repository = Repository::around(at).unwrap();
        let (GitHead { branch, commit }, _) = repository.head();
        (
            repository.root,
            branch.map(|name| String::from_utf8(name).unwrap()),
            commit,
        )
    }

    #[test]
    fn what_git_says_is_what_is_read() {
        let (_dir, root) = repository();
        let inner = root.join("a/b");
        assert_eq!(
            head(&inner),
            (root.clone(), Some("main".into()), None),
            "no commit yet"
        );
        git(&root, &["commit", "-q", "--allow-empty", "-m", "one"]);
        let one = git(&root, &["rev-parse", "HEAD"]);
        assert_eq!(
            head(&inner),
            (root.clone(), Some("main".into()), Some(one.clone()))
        );
        git(&root, &["switch", "-q", "-c", "feature/x"]);
        git(&root, &["commit", "-q", "--allow-empty", "-m", "two"]);
        let two = git(&root, &["rev-parse", "HEAD"]);
        assert_eq!(
            head(&inner),
            (root.clone(), Some("feature/x".into()), Some(two.clone()))
        );
        git(&root, &["pack-refs", "--all"]);
        assert!(!root.join(".git/refs/heads/feature/x").exists());
        assert_eq!(head(&inner), (root.clone(), Some("feature/x".into()), Some(two)));
        git(&root, &["checkout", "-q", "--detach", &one]);
        assert_eq!(head(&inner), (root.clone(), None, Some(one)));
    }

    #[test]
    fn a_worktree_has_its_own_head_and_the_refs_of_all() {
        let (dir, root) = repository();
        git(&root, &["commit", "-q", "--allow-empty", "-m", "one"]);
        let one = git(&root, &["rev-parse", "HEAD"]);
        let other = dir.path().canonicalize().unwrap().join("other");
        git(
            &root,
            &["worktree", "add", "-q", "-b", "side", other.to_str().unwrap()],
        );
        assert!(other.join(".git").is_file());
        assert_eq!(
            head(&other),
            (other.clone(), Some("side".into()), Some(one.clone()))
        );
        git(&root, &["pack-refs", "--all"]);
        assert_eq!(head(&other), (other.clone(), Some("side".into()), Some(one)));
    }

    #[test]
    fn a_changed_head_is_seen() {
        let (_dir, root) = repository();
        let repository = Repository::around(&root).unwrap();
        let mut stamp = repository.head().1;
        for change in [
            &["commit", "-q", "--allow-empty", "-m", "one"][..],
            &["switch", "-q", "-c", "x"],
            &["commit", "-q", "--allow-empty", "-m", "two"],
            &["checkout", "-q", "--detach"],
        ] {
            assert!(repository.is_unchanged(&stamp));
            git(&root, change);
            assert!(!repository.is_unchanged(&stamp), "{change:?}");
            stamp = repository.head().1;
        }
    }

    #[test]
    fn what_is_no_repository_is_none_whatever_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(Repository::around(&root), None);
        fs::create_dir(root.join(".git")).unwrap();
        assert_eq!(Repository::around(&root), None, "an empty directory");
        fs::create_dir(root.join(".git/objects")).unwrap();
        let pipe = root.join(".git/HEAD");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert_eq!(
            Repository::around(&root).unwrap().head().0,
            GitHead::default(),
            "and no wait"
        );
        fs::remove_file(&pipe).unwrap();
        for text in [
            "",
            "ref: ../../../etc/passwd",
            "ref: refs/../../x",
            "0123",
            "\0\u{1b}",
        ] {
            fs::write(&pipe, text).unwrap();
            assert_eq!(
                Repository::around(&root).unwrap().head().0,
                GitHead::default(),
                "{text:?}"
            );
        }
    }
}
