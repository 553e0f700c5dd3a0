//! Finds the program's file.
//!
//! A child makes only system calls before its exec, so it cannot search. Names are resolved here, as `execvp` would in
//! the child: in the child's PATH, from the child's working directory. A child that becomes another user gets all the
//! files that may be meant, and tries them with that user's rights.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use baton_proto::limits::NAME_MAX;
use rustix::fs::{Access, FileType, access, stat};

use crate::error::StartError;
use crate::limits::SEARCHED_DIRECTORIES;

/// PATH for a child without one: glibc's default.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The absolute path of `program`. A name with a slash is not checked: the exec reports an error.
pub(super) fn resolve(
    program: &OsStr,
    cwd: Option<&Path>,
    path: Option<&OsStr>,
) -> Result<PathBuf, StartError> {
    if program.is_empty() {
        return Err(StartError::CommandNotFound);
    }
    if program.as_bytes().contains(&b'/') {
        return absolute(cwd, Path::new(program));
    }
    let mut error = StartError::CommandNotFound;
    for directory in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        let candidate = absolute(cwd, &directory.join(program))?;
        match inspect(&candidate) {
            Found::Executable => return Ok(candidate),
            Found::NotExecutable => error = StartError::NotExecutable,
            Found::Nothing => {}
        }
    }
    Err(error)
}

/// The files that `program` may mean, for a child that tries them in this order, from its working directory. Nothing is
/// looked at. The first one, and the others.
pub(super) fn candidates(
    program: &OsStr,
    path: Option<&OsStr>,
) -> Result<(CString, Vec<CString>), StartError> {
    let text = |path: PathBuf| CString::new(path.into_os_string().into_vec()).ok();
    if program.as_bytes().contains(&b'/') {
        let program = text(program.into()).ok_or(StartError::CommandNotFound)?;
        return Ok((program, Vec::new()));
    }
    if program.is_empty() || program.len() > NAME_MAX {
        return Err(StartError::CommandNotFound);
    }
    let directories = std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)));
    let mut candidates = directories
        .take(SEARCHED_DIRECTORIES)
        .filter_map(|directory| text(directory.join(program)));
    let first = candidates.next().ok_or(StartError::CommandNotFound)?;
    Ok((first, candidates.collect()))
}

/// The kind of file at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A regular file that this server may execute.
    Executable,
    /// Another file, or one that this server may not execute.
    NotExecutable,
    /// No file, or one in a directory that this server may not search.
    Nothing,
}

/// Determines the kind of file at `path`, without executing it.
pub(super) fn inspect(path: &Path) -> Found {
    match stat(path) {
        Err(_) => Found::Nothing,
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => Found::NotExecutable,
        Ok(_) if access(path, Access::EXEC_OK).is_err() => Found::NotExecutable,
        Ok(_) => Found::Executable,
    }
}

/// The child changes its directory before its exec, so the path must be absolute.
fn absolute(cwd: Option<&Path>, path: &Path) -> Result<PathBuf, StartError> {
    let path = match cwd {
        Some(cwd) => cwd.join(path),
        None => path.to_owned(),
    };
    if path.is_absolute() {
        return Ok(path);
    }
    std::path::absolute(path).map_err(|_| StartError::BadCwd)
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn find(program: &str, cwd: Option<&str>, path: Option<&str>) -> Result<PathBuf, StartError> {
        resolve(OsStr::new(program), cwd.map(Path::new), path.map(OsStr::new))
    }

    #[test]
    fn names_are_found_in_the_given_path_and_in_the_default_one() {
        assert_eq!(
            find("sh", None, Some("/nowhere:/bin")).unwrap(),
            Path::new("/bin/sh")
        );
        assert_eq!(find("sh", None, None).unwrap(), Path::new("/bin/sh"));
        assert!(matches!(
            find("sh", None, Some("/nowhere")),
            Err(StartError::CommandNotFound)
        ));
        assert!(matches!(
            find("", None, Some("/bin")),
            Err(StartError::CommandNotFound)
        ));
    }

    #[test]
    fn relative_directories_count_from_the_childs_working_directory() {
        assert_eq!(find("sh", Some("/"), Some("bin")).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("sh", Some("/bin"), Some("")).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("bin/sh", Some("/"), None).unwrap(), Path::new("/bin/sh"));
        assert!(find("./sh", None, None).unwrap().is_absolute());
        assert!(find("./sh", Some("sub"), None).unwrap().is_absolute());
    }

    #[test]
    fn the_files_that_a_name_may_mean_are_bounded_and_not_looked_at() {
        let of = |program: &str, path: Option<&str>| {
            let found = candidates(OsStr::new(program), path.map(OsStr::new));
            found.map(|(first, others)| [vec![first], others].concat())
        };
        assert_eq!(of("a/b", Some("/x")).unwrap(), [c"a/b".to_owned()]);
        assert_eq!(
            of("sh", None).unwrap(),
            [c"/bin/sh", c"/usr/bin/sh"].map(CStr::to_owned)
        );
        let expected = [c"/no/such/a", c"a", c"rel/a"].map(CStr::to_owned);
        assert_eq!(of("a", Some("/no/such::rel")).unwrap(), expected);
        let many = ":/a".repeat(2 * SEARCHED_DIRECTORIES);
        assert_eq!(of("a", Some(&many)).unwrap().len(), SEARCHED_DIRECTORIES);
        for program in ["", &"a".repeat(NAME_MAX + 1)] {
            assert!(matches!(of(program, None), Err(StartError::CommandNotFound)));
        }
    }

    #[test]
    fn a_file_that_may_not_be_executed_differs_from_no_file_and_the_search_continues() {
        assert!(matches!(
            find("passwd", None, Some("/etc")),
            Err(StartError::NotExecutable)
        ));
        assert!(find("passwd", None, Some("/etc:/usr/bin")).is_ok());
        // A directory is not a command.
        assert!(matches!(
            find("ssl", None, Some("/etc")),
            Err(StartError::NotExecutable)
        ));
    }
}
