//! What `baton cp` copies: SRC and DST, of which one is on an exec-server's machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::hosts::is_name;

/// A path of this machine, or of an exec-server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopyPlace {
    Local(PathBuf),
    Remote {
        /// `None`: the exec-server of the options or of the environment.
        host: Option<String>,
        /// Absolute, or relative to the exec-server's default directory.
        path: PathBuf,
    },
}

/// What is copied, and in which direction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CopyDirection {
    Upload { from: PathBuf, to: PathBuf },
    Download { from: PathBuf, to: PathBuf },
}

/// Why SRC, DST and the options do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CopyUsage {
    #[error(
        "SRC and DST are both on this machine: write NAME:PATH for a path of an exec-server (`baton host list` lists the \
         names), or use cp"
    )]
    BothLocal,
    #[error("SRC and DST are both on an exec-server: copy to this machine first, and from here")]
    BothRemote,
    #[error(
        "a name before `:` and --host or --ticket-file both select the exec-server: write `:PATH` with the option"
    )]
    TwoExecServers,
}

impl CopyPlace {
    /// As scp has it: remote is what has a colon before the first slash.
    pub(crate) fn parse(value: &OsStr) -> Result<Self, String> {
        let bytes = value.as_bytes();
        if bytes.is_empty() {
            return Err("expected a path, not an empty one; `.` is the working directory".into());
        }
        let first = bytes.iter().position(|byte| matches!(byte, b':' | b'/'));
        let Some(colon) = first.filter(|at| bytes.get(*at) == Some(&b':')) else {
            return Ok(CopyPlace::Local(PathBuf::from(value)));
        };
        let (name, path) = bytes.split_at(colon);
        let path = path.get(1..).unwrap_or_default();
        // The default directory of an exec-server is its user's home.
        let path = match path.strip_prefix(b"~") {
            Some(below) if below.is_empty() || below.starts_with(b"/") => {
                let name = below.iter().position(|byte| *byte != b'/');
                name.and_then(|at| below.get(at..)).unwrap_or_default()
            }
            _ => path,
        };
        let host = match name {
            b"" => None,
            name => {
                let name = std::str::from_utf8(name).ok().filter(|name| is_name(name));
                Some(name.ok_or(NO_NAME)?.to_owned())
            }
        };
        Ok(CopyPlace::Remote {
            host,
            path: PathBuf::from(OsStr::from_bytes(path)),
        })
    }

    /// As the user would write it.
    pub(crate) fn shown(&self) -> OsString {
        match self {
            Self::Local(path) => path.clone().into_os_string(),
            Self::Remote { host, path } => {
                let mut shown = OsString::from(host.as_deref().unwrap_or_default());
                shown.push(":");
                shown.push(path);
                shown
            }
        }
    }
}

const NO_NAME: &str = "before the colon there is no name of an exec-server (letters, digits, `.`, `_` and `-`); a local \
                       file with a colon in its name is `./FILE`";

#[cfg(test)]
mod tests {
    use super::*;

    fn local(path: &str) -> Result<CopyPlace, String> {
        Ok(CopyPlace::Local(path.into()))
    }

    fn remote(host: Option<&str>, path: &str) -> Result<CopyPlace, String> {
        Ok(CopyPlace::Remote {
            host: host.map(str::to_owned),
            path: path.into(),
        })
    }

    #[test]
    fn a_colon_before_the_first_slash_makes_a_path_remote_as_with_scp() {
        for (text, expected) in [
            ("a", local("a")),
            ("./a:b", local("./a:b")),
            ("/a:b", local("/a:b")),
            ("a/b:c", local("a/b:c")),
            ("..", local("..")),
            ("worker:", remote(Some("worker"), "")),
            ("worker:a", remote(Some("worker"), "a")),
            ("worker:/a/b", remote(Some("worker"), "/a/b")),
            ("worker:a:b", remote(Some("worker"), "a:b")),
            ("worker:../a", remote(Some("worker"), "../a")),
            ("worker:~/a", remote(Some("worker"), "a")),
            ("worker:~//a", remote(Some("worker"), "a")),
            ("worker:~", remote(Some("worker"), "")),
            ("worker:~/", remote(Some("worker"), "")),
            ("worker:~x", remote(Some("worker"), "~x")),
            (":a", remote(None, "a")),
            (":", remote(None, "")),
        ] {
            assert_eq!(CopyPlace::parse(OsStr::new(text)), expected, "{text}");
        }
        for bad in ["", "user@worker:a", "a b:c", "-x:a", "[::1]:a", "ü:a"] {
            assert!(CopyPlace::parse(OsStr::new(bad)).is_err(), "{bad}");
        }
        let place = CopyPlace::parse(OsStr::from_bytes(b"worker:\xff")).unwrap();
        assert_eq!(place.shown().as_bytes(), b"worker:\xff");
    }
}
