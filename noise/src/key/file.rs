//! Key files: one line with the seed, readable by its owner only. A key file appears complete under its name, and is
//! never overwritten.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use baton_regular_file::{OpenError, RegularFile};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use zeroize::Zeroizing;

use super::{KeyError, Secret, Seed};
use crate::limits::KEY_FILE_MAX;

/// Prefix of a key file.
pub(super) const FILE_TAG: &str = "baton-key-v1";

impl Seed {
    /// Reads a key file. Refuses a file that other users can read or change.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Absent { path: path.into() },
            _ => KeyError::File {
                action: "read",
                path: path.into(),
                source,
            },
        };
        // An open file stays the same file if its path is replaced. An ordinary open of a FIFO would wait for a writer.
        let file = RegularFile::open(path).map_err(|error| match error {
            OpenError::Io(source) => failed(source),
            OpenError::NotRegular => KeyError::NotAFile { path: path.into() },
        })?;
        let mode = file.metadata().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Permissions {
                path: path.into(),
                mode,
            });
        }
        // A buffer that never grows leaves no copy of the secret. One byte longer than the limit, to detect a longer
        // file.
        let mut text = Zeroizing::new([0; KEY_FILE_MAX + 1]);
        let mut file = File::from(file);
        let mut len = 0;
        while len < text.len() {
            match file.read(&mut text[len..]).map_err(failed)? {
                0 => break,
                read => len += read,
            }
        }
        let seed = parse_file(&text[..len]).ok_or_else(|| KeyError::Format { path: path.into() })?;
        Ok(Self(seed))
    }

    /// Writes a new key file, readable by its owner only. Never overwrites one. The file appears complete under its
    /// name: a program that creates the same key concurrently reads this one, and a crash leaves no truncated file.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.into() },
            _ => KeyError::File {
                action: "write",
                path: path.into(),
                source,
            },
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let line = self.line();
        let draft = draft_of(path)?;
        create(&draft, line.as_bytes()).map_err(failed)?;
        let linked = fs::hard_link(&draft, path);
        // If this fails, the draft remains, readable by its owner only.
        let _ = fs::remove_file(&draft);
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // A file system without hard links: there a concurrent reader may see an incomplete file.
                create(path, line.as_bytes()).map_err(failed)
            }
            linked => linked.map_err(failed),
        }
    }

    /// The content of a key file.
    pub(super) fn line(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(BASE64URL_NOPAD.encode(&**self.0));
        // A buffer that grows would leave a copy behind.
        let mut line = Zeroizing::new(String::with_capacity(FILE_TAG.len() + encoded.len() + 2));
        for part in [FILE_TAG, " ", &**encoded, "\n"] {
            line.push_str(part);
        }
        line
    }

    /// Reads the key file, or creates it if it does not exist. The flag is true if it was created.
    pub fn read_or_create(path: &Path) -> Result<(Self, bool), KeyError> {
        match Self::read(path) {
            Err(KeyError::Absent { .. }) => {
                let seed = Self::generate()?;
                match seed.write(path) {
                    // Another program created it in between: use that key.
                    Err(KeyError::Exists { .. }) => Ok((Self::read(path)?, false)),
                    Err(error) => Err(error),
                    Ok(()) => Ok((seed, true)),
                }
            }
            other => Ok((other?, false)),
        }
    }
}

/// An unused path in the directory of `path`.
fn draft_of(path: &Path) -> Result<PathBuf, KeyError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| KeyError::Random)?;
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", HEXLOWER.encode(&random)));
    Ok(path.with_file_name(name))
}

/// Creates a new file, readable by its owner only, and syncs it to disk.
fn create(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// The seed in the text of a key file; `None` if the text is malformed or too long.
pub(super) fn parse_file(text: &[u8]) -> Option<Secret> {
    if text.len() > KEY_FILE_MAX {
        return None;
    }
    let encoded = std::str::from_utf8(text).ok()?.trim().strip_prefix(FILE_TAG)?;
    let decoded = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.trim().as_bytes()).ok()?);
    let mut seed = Secret::default();
    if decoded.len() != seed.len() {
        return None;
    }
    seed.copy_from_slice(&decoded);
    Some(seed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::key::Generation;

    #[test]
    fn a_key_file_round_trips_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/key");
        let (seed, created) = Seed::read_or_create(&path).unwrap();
        assert!(created);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let (again, created) = Seed::read_or_create(&path).unwrap();
        assert!(!created);
        assert_eq!(seed.0, again.0);
        assert!(matches!(seed.write(&path), Err(KeyError::Exists { .. })));
        let absent = Seed::read(&dir.path().join("absent"));
        assert!(matches!(absent, Err(KeyError::Absent { .. })));
    }

    #[test]
    fn programs_that_make_the_same_key_at_once_get_the_same_one() {
        const PROGRAMS: usize = 4;
        let dir = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = dir.path().join(format!("{round}/key"));
            let start = std::sync::Barrier::new(PROGRAMS);
            let made: Vec<_> = std::thread::scope(|scope| {
                let program = || {
                    start.wait();
                    Seed::read_or_create(&path)
                };
                let programs: Vec<_> = (0..PROGRAMS).map(|_| scope.spawn(program)).collect();
                programs
                    .into_iter()
                    .map(|program| program.join().unwrap().unwrap())
                    .collect()
            });
            assert_eq!(made.iter().filter(|(_, is_new)| *is_new).count(), 1);
            assert!(made.iter().all(|(seed, _)| seed.0 == made[0].0.0));
            let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
            assert_eq!(files, 1, "a draft remains");
        }
    }

    #[test]
    fn a_file_with_any_permission_for_others_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        Seed::generate().unwrap().write(&path).unwrap();
        for bit in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600 | bit)).unwrap();
            let error = Seed::read(&path).unwrap_err();
            assert!(matches!(error, KeyError::Permissions { .. }), "{bit:o}: {error}");
            let command = format!("`chmod 600 {}`", path.display());
            assert!(error.to_string().contains(&command), "{error}");
        }
        for mode in [0o600, 0o400, 0o700] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(Seed::read(&path).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn a_fifo_as_key_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o600.into(), 0).unwrap();
        let (sender, errors) = std::sync::mpsc::channel();
        let program = path.clone();
        std::thread::spawn(move || {
            let _ = sender.send(Seed::read(&program).err());
            let _ = sender.send(Seed::read_or_create(&program).err());
            let _ = sender.send(Generation::advance(&program).err());
        });
        for _ in 0..3 {
            let error = errors.recv_timeout(std::time::Duration::from_secs(60));
            let error = error.expect("does not wait").expect("is refused");
            assert!(matches!(error, KeyError::NotAFile { .. }), "{error}");
            let expected = format!("{} is not a regular file: ", path.display());
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn another_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for content in [
            "",
            "baton-key-v1",
            "baton-key-v1 AAAA",
            "ssh-ed25519 AAAA",
            &"x".repeat(5000),
            // A key, followed by too many bytes.
            &format!("baton-key-v1 {}{}", "A".repeat(43), " ".repeat(KEY_FILE_MAX)),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(
                matches!(Seed::read(&path), Err(KeyError::Format { .. })),
                "{content}"
            );
        }
    }
}
