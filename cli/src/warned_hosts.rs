//! The hosts of relays in clear text that the user was warned about: one per line, in Baton's state directory.
//!
//! The list is best effort: if it cannot be written, the warning is repeated, and two concurrent commands may both
//! print it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use baton_regular_file::{OpenError, RegularFile};

use crate::limits::WARNED_MAX;
use crate::metadata;

const FILE: &str = "clear_text_hosts";

/// Whether the user was not yet warned about this relay's host. Adds the host to the list.
pub(crate) fn is_first(relay_url: &str) -> bool {
    let xdg = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let Some(directory) = metadata::own_state_directory(xdg, std::env::home_dir()) else {
        return true;
    };
    is_first_in(&directory, host(relay_url)).unwrap_or(true)
}

fn is_first_in(directory: &Path, host: &str) -> io::Result<bool> {
    let path = directory.join(FILE);
    let known = match RegularFile::open(&path) {
        Ok(file) => file.read_to_string(WARNED_MAX)?,
        Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            String::new()
        }
        Err(error) => return Err(error.into()),
    };
    if known.lines().any(|line| line == host) {
        return Ok(false);
    }
    let is_full = known.len() + host.len() + 1 > usize::try_from(WARNED_MAX).unwrap_or(usize::MAX);
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    // A full list is truncated.
    options.append(!is_full).write(is_full).truncate(is_full);
    // One write, because another command may write at the same time.
    options.open(&path)?.write_all(format!("{host}\n").as_bytes())?;
    Ok(true)
}

/// The host of a relay's URL, without scheme and port.
fn host(relay_url: &str) -> &str {
    let rest = relay_url.split_once("://").map_or(relay_url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn each_host_is_new_once_and_what_is_remembered_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state/baton");
        let first = |host: &str| is_first_in(&state, host).unwrap();
        assert!(first("a") && first("b"));
        assert!(!first("a") && !first("b"));
        let path = state.join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for n in 0..WARNED_MAX / 8 {
            first(&format!("host-{n}.example"));
        }
        assert!(fs::metadata(&path).unwrap().len() <= WARNED_MAX);
        let last = format!("host-{}.example", WARNED_MAX / 8 - 1);
        assert!(!first(&last));
    }

    #[test]
    fn where_nothing_can_be_remembered_each_time_is_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(is_first_in(&file, "a").is_err());
    }

    #[test]
    fn a_host_is_the_same_on_every_port() {
        for url in ["http://a.example:7700", "http://a.example", "http://a.example:1/"] {
            assert_eq!(host(url), "a.example");
        }
        assert_eq!(host("http://[2001:db8::1]:7700"), "[2001:db8::1]");
        assert_eq!(host("http://[2001:db8::1]"), "[2001:db8::1]");
    }
}
