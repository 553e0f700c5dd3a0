//! Checks whether other users can read or change a file: key files, allow-lists, tickets.
//!
//! The permission bits decide. A POSIX access control list shows in them, too: with one, the group's bits are its mask.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Permission bits by which group and others write.
const WRITE_BY_OTHERS: u32 = 0o022;

/// Any permission of group and others.
const ANY_BY_OTHERS: u32 = 0o077;

/// In a directory with this bit, any user may create files, and only a file's owner may rename or remove it (`/tmp`).
const STICKY: u32 = 0o1000;

/// How other users can access a file, and the command that fixes it (without the path).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// By these permission bits; the write permissions must be removed.
    Writable(u32),
    /// By these permission bits; all permissions must be removed.
    Accessible(u32),
    /// It belongs to this user, which is neither this process's user nor root.
    Owner(u32),
}

impl Exposure {
    /// How other users can change this file, if they can.
    pub fn to_change(file: &Metadata) -> Option<Self> {
        let mode = file.mode() & 0o7777;
        let is_own = file.uid() == 0 || file.uid() == rustix::process::geteuid().as_raw();
        match mode & WRITE_BY_OTHERS {
            _ if !is_own => Some(Self::Owner(file.uid())),
            0 => None,
            _ if file.is_dir() && mode & STICKY != 0 => None,
            _ => Some(Self::Writable(mode & 0o777)),
        }
    }

    /// How other users can read or change this secret, if they can. A pipe or a terminal is read once and has no later
    /// reader.
    pub fn of_secret(file: &Metadata) -> Option<Self> {
        let mode = file.mode() & 0o777;
        let is_kept = file.is_file() || file.is_dir();
        (is_kept && mode & ANY_BY_OTHERS != 0).then_some(Self::Accessible(mode))
    }

    /// The command that fixes it, without the file's path.
    pub fn command(self) -> String {
        match self {
            Self::Writable(_) => "chmod go-w".into(),
            Self::Accessible(_) => "chmod 600".into(),
            Self::Owner(_) => format!("chown {}", rustix::process::geteuid().as_raw()),
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writable(mode) => write!(f, "others can change it (mode {mode:03o})"),
            Self::Accessible(mode) => write!(f, "it is open to others (mode {mode:03o})"),
            Self::Owner(uid) => write!(f, "it belongs to another user ({uid})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_exposed_if_others_can_change_it_and_a_secret_if_they_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for (mode, change, secret) in [
            (0o600, false, false),
            (0o700, false, false),
            (0o644, false, true),
            (0o620, true, true),
            (0o602, true, true),
            (0o601, false, true),
        ] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let metadata = fs::metadata(&file).unwrap();
            assert_eq!(Exposure::to_change(&metadata).is_some(), change, "{mode:o}");
            assert_eq!(Exposure::of_secret(&metadata).is_some(), secret, "{mode:o}");
        }
        for (mode, exposed) in [(0o755, false), (0o775, true), (0o777, true), (0o1777, false)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let metadata = fs::metadata(dir.path()).unwrap();
            assert_eq!(Exposure::to_change(&metadata).is_some(), exposed, "{mode:o}");
        }
    }
}
