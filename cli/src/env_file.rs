//! Files of environment variables, as container engines read them: `NAME=VALUE` on each line, to the end of the line and
//! without quoting; a `NAME` alone is taken from the environment of `baton`; empty lines and lines that begin with `#`
//! mean nothing.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::limits::ENV_FILE_MAX;

/// Why a file of variables cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvFileError {
    #[error("cannot read the variables in {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}:{line}: {what}")]
    Line {
        path: PathBuf,
        line: usize,
        what: &'static str,
    },
}

/// The variables in a file, in its order. The file may be a pipe, as of `<(…)`.
pub(crate) fn read(
    path: &Path,
    own: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<Vec<(OsString, OsString)>, EnvFileError> {
    let failed = |source| EnvFileError::Read {
        path: path.into(),
        source,
    };
    let mut text = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let len = file
        .take(ENV_FILE_MAX + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if len as u64 > ENV_FILE_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    parse(&text, own).map_err(|(line, what)| EnvFileError::Line {
        path: path.into(),
        line,
        what,
    })
}

fn parse(
    text: &[u8],
    own: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<Vec<(OsString, OsString)>, (usize, &'static str)> {
    let mut variables = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || line.trim_ascii_start().starts_with(b"#") {
            continue;
        }
        let refused = |what| (index + 1, what);
        if line.contains(&0) {
            return Err(refused("a variable cannot have a zero byte"));
        }
        let (name, value) = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => (&line[..at], Some(OsStr::from_bytes(&line[at + 1..]).to_owned())),
            None => (line, None),
        };
        let name = OsStr::from_bytes(name.trim_ascii_start());
        if name.is_empty() || name.as_bytes().iter().any(u8::is_ascii_whitespace) {
            return Err(refused("expected NAME=VALUE, or a NAME without white space"));
        }
        // A variable that is not set here is not set there either.
        if let Some(value) = value.or_else(|| own(name)) {
            variables.push((name.to_owned(), value));
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &[u8]) -> Result<Vec<(String, String)>, (usize, &'static str)> {
        let own = |name: &OsStr| (name == "HERE").then(|| "own".into());
        let found = parse(text, own)?.into_iter();
        let shown = |text: OsString| text.to_string_lossy().into_owned();
        Ok(found.map(|(name, value)| (shown(name), shown(value))).collect())
    }

    #[test]
    fn each_line_is_a_variable_and_its_value_is_taken_as_it_is() {
        let text =
            b"# comment\nA=1\r\n\n  # another\n B=\"two words\" # three\nC=\nD==x\nHERE\nNOT_HERE\nA=2";
        let expected = [
            ("A", "1"),
            ("B", "\"two words\" # three"),
            ("C", ""),
            ("D", "=x"),
            ("HERE", "own"),
            ("A", "2"),
        ];
        let found = parsed(text).unwrap();
        let found: Vec<_> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(found, expected);
        assert_eq!(parsed(b"").unwrap(), []);
    }

    #[test]
    fn what_is_no_variable_is_refused_with_its_line() {
        for (text, line) in [
            (&b"A=1\n=x"[..], 2),
            (b"export A=1", 1),
            (b"\n\nA B", 3),
            (b"A=\0", 1),
        ] {
            assert_eq!(parsed(text).unwrap_err().0, line, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_is_too_long_or_absent_is_refused() {
        let none = |_: &OsStr| None;
        for path in ["/dev/zero", "/nonexistent", "/"] {
            let error = read(Path::new(path), none).unwrap_err();
            assert!(matches!(error, EnvFileError::Read { .. }), "{path}: {error}");
        }
        assert_eq!(read(Path::new("/dev/null"), none).unwrap(), []);
    }
}
