//! Reads `git status --porcelain=v2 --branch -z` (git-status(1), "Porcelain Format Version 2").

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::ChangesError;

/// A file that differs from the last commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedFile {
    /// Its path, relative to the repository's root.
    pub path: PathBuf,
    /// The path that it was renamed or copied from.
    pub from: Option<PathBuf>,
    /// Git's letter for the change in the index (`M`, `A`, `D`, `R`, …); `.` for none, `?` if it is untracked.
    pub index: char,
    /// Git's letter for the change in the working tree.
    pub worktree: char,
}

/// The whole output.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// `None` before the first commit.
    pub(super) commit: Option<String>,
    pub(super) files: Vec<ChangedFile>,
}

/// Fields before the path of an ordinary entry, a renamed one, and an unmerged one.
const ORDINARY: usize = 8;
const RENAMED: usize = 9;
const UNMERGED: usize = 10;

/// Reads the output. Header lines and entry types that later versions of git may add are passed over.
pub(super) fn parse(output: &[u8]) -> Result<Status, ChangesError> {
    let mut status = Status {
        commit: None,
        files: Vec::new(),
    };
    let mut entries = output.split(|byte| *byte == 0);
    while let Some(entry) = entries.next() {
        let Some((kind, rest)) = entry.split_at_checked(2) else {
            continue;
        };
        let (before, renamed) = match kind {
            b"1 " => (ORDINARY, false),
            b"2 " => (RENAMED, true),
            b"u " => (UNMERGED, false),
            b"? " => {
                status.files.push(ChangedFile {
                    path: path(rest),
                    from: None,
                    index: '?',
                    worktree: '?',
                });
                continue;
            }
            b"# " => {
                if let Some(commit) = rest.strip_prefix(b"branch.oid ") {
                    status.commit = self::commit(commit);
                }
                continue;
            }
            _ => continue,
        };
        // The first field, the type, is not in `rest`.
        let mut fields = rest.splitn(before, |byte| *byte == b' ');
        let letters = fields.next().unwrap_or_default();
        let name = fields.nth(before - 2);
        let (&[index, worktree], Some(name)) = (letters, name) else {
            return Err(ChangesError::Unreadable("an entry without its fields"));
        };
        let from = match renamed {
            true => Some(
                entries
                    .next()
                    .ok_or(ChangesError::Unreadable("a renamed file without its origin"))?,
            ),
            false => None,
        };
        status.files.push(ChangedFile {
            path: path(name),
            from: from.map(path),
            index: index.into(),
            worktree: worktree.into(),
        });
    }
    Ok(status)
}

/// `(initial)` is no commit. What is no hash must not become an argument.
fn commit(text: &[u8]) -> Option<String> {
    let is_hash = matches!(text.len(), 40 | 64) && text.iter().all(u8::is_ascii_hexdigit);
    String::from_utf8(text.to_vec()).ok().filter(|_| is_hash)
}

fn path(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, from: Option<&str>, index: char, worktree: char) -> ChangedFile {
        ChangedFile {
            path: path.into(),
            from: from.map(PathBuf::from),
            index,
            worktree,
        }
    }

    #[test]
    fn every_kind_of_entry_is_read() {
        let oid = "a".repeat(40);
        let output = format!(
            "# branch.oid {oid}\0# branch.head main\0\
            1 .M N... 100644 100644 100644 {oid} {oid} a file\0\
            2 R. N... 100644 100644 100644 {oid} {oid} R100 new name\0old name\0\
            u UU N... 100644 100644 100644 100644 {oid} {oid} {oid} both\0\
            ? un\ntracked\0! ignored\0"
        );
        let status = parse(output.as_bytes()).unwrap();
        assert_eq!(status.commit, Some(oid));
        let expected = [
            file("a file", None, '.', 'M'),
            file("new name", Some("old name"), 'R', '.'),
            file("both", None, 'U', 'U'),
            file("un\ntracked", None, '?', '?'),
        ];
        assert_eq!(status.files, expected);
        assert_eq!(parse(b"# branch.oid (initial)\0").unwrap().commit, None);
        assert_eq!(parse(b"# branch.oid --output=/etc/x\0").unwrap().commit, None);
    }

    #[test]
    fn a_truncated_entry_is_an_error_and_no_panic() {
        for output in [
            &b"1 .M N... 100644"[..],
            b"1 ",
            b"u x",
            b"2 R. N... 1 2 3 4 5 R100 new",
        ] {
            assert!(
                matches!(parse(output), Err(ChangesError::Unreadable(_))),
                "{output:?}"
            );
        }
        for output in [&b""[..], b"\0\0", b"x", b"? ", b"# ", b"9 y"] {
            assert!(parse(output).is_ok(), "{output:?}");
        }
    }
}
