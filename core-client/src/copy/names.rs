//! Names in directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::CopyError;

/// The last name of a path. `None` if it ends in `.` or `..`, is empty, or is `/`: then it has no name of its own.
pub(super) fn last_name(path: &Path) -> Option<&OsStr> {
    let path = trimmed(path.as_os_str().as_bytes());
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    match name {
        b"" | b"." | b".." => None,
        name => Some(OsStr::from_bytes(name)),
    }
}

/// Whether a path ends in `/`, so that it can only be a directory.
pub(super) fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// The path without slashes at its end; `/` alone stays.
pub(super) fn without_slashes(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    match trimmed(bytes) {
        b"" => path,
        bytes => Path::new(OsStr::from_bytes(bytes)),
    }
}

/// A name that leads to an entry of its directory and nowhere else.
///
/// # Errors
/// [`CopyError::NotAName`]
pub(super) fn checked(name: &OsStr) -> Result<&OsStr, CopyError> {
    let bytes = name.as_bytes();
    let leads_elsewhere = matches!(bytes, b"" | b"." | b"..");
    match leads_elsewhere || bytes.iter().any(|byte| matches!(byte, b'/' | 0)) {
        true => Err(CopyError::NotAName),
        false => Ok(name),
    }
}

/// A path without slashes at its end.
fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/');
    path.get(..end.map_or(0, |last| last + 1)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_of_a_path_is_one_that_it_has() {
        for (path, name) in [
            ("a", Some("a")),
            ("a/b", Some("b")),
            ("/a/b//", Some("b")),
            ("...", Some("...")),
            ("", None),
            ("/", None),
            ("//", None),
            (".", None),
            ("./", None),
            ("a/.", None),
            ("a/..", None),
            ("a/../", None),
        ] {
            assert_eq!(last_name(Path::new(path)), name.map(OsStr::new), "{path:?}");
        }
        for (path, without) in [("a//", "a"), ("a/b", "a/b"), ("/", "/"), ("", "")] {
            assert_eq!(without_slashes(Path::new(path)), Path::new(without));
        }
    }

    #[test]
    fn a_name_that_leads_out_of_its_directory_is_refused() {
        for good in ["a", "...", "-", "\u{1b}[2J", " "] {
            assert!(checked(OsStr::new(good)).is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "/", "a/b", "../a", "/etc/passwd", "a\0"] {
            let refused = checked(OsStr::new(bad));
            assert!(matches!(refused, Err(CopyError::NotAName)), "{bad:?}");
        }
    }
}
