//! The generation of an exec-server's dial token, stored beside its key as `KEYFILE.generation`.
//!
//! The dial token is the only part of a ticket that is secret and can change. So the dial token of the next generation
//! revokes a leaked ticket: the relay then refuses dials with the previous token. Keys do not change, so pinned keys
//! and allow-lists stay valid. Without the file the generation is 0; deleting it makes the first tickets valid again.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use baton_regular_file::{OpenError, RegularFile};
use rustix::fs::{FlockOperation, flock};

use super::KeyError;
use crate::access::Exposure;
use crate::limits::KEY_FILE_MAX;

/// Prefix of the file.
const FILE_TAG: &str = "baton-generation-v1";

/// Number of times that the dial token was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// The path of the generation file of this key file.
    pub fn path(key: &Path) -> PathBuf {
        let mut path = key.as_os_str().to_owned();
        path.push(".generation");
        path.into()
    }

    /// Reads the generation of this key file; 0 without a generation file.
    ///
    /// # Errors
    /// The file cannot be read, is not a generation file, or other users can change it.
    pub fn read(key: &Path) -> Result<Self, KeyError> {
        let path = Self::path(key);
        let failed = |source| KeyError::File {
            action: "read the generation beside",
            path: key.into(),
            source,
        };
        let file = match RegularFile::open(&path) {
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(OpenError::Io(error)) => return Err(failed(error)),
            Err(OpenError::NotRegular) => return Err(KeyError::NotAFile { path }),
            Ok(file) => file,
        };
        if let Some(exposure) = Exposure::to_change(file.metadata()) {
            return Err(KeyError::Exposed { path, exposure });
        }
        let mut text = String::new();
        File::from(file)
            .take(KEY_FILE_MAX as u64)
            .read_to_string(&mut text)
            .map_err(failed)?;
        let number = text.trim_end().strip_prefix(FILE_TAG).map(str::trim_start);
        let number = number.and_then(|number| number.parse().ok());
        number.map(Self).ok_or(KeyError::Generation { path })
    }

    /// Advances this key file to the next generation. The new generation is durable when this returns; a crash leaves
    /// the new or the previous one.
    ///
    /// # Errors
    /// The key file does not exist, or the generation cannot be read or written.
    pub fn advance(key: &Path) -> Result<Self, KeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Absent { path: key.into() },
            _ => KeyError::File {
                action: "write the generation beside",
                path: key.into(),
                source,
            },
        };
        // Held until the return: two concurrent calls advance by two generations.
        let lock = RegularFile::open(key).map_err(|error| match error {
            OpenError::Io(source) => failed(source),
            OpenError::NotRegular => KeyError::NotAFile { path: key.into() },
        })?;
        let lock = File::from(lock);
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let Self(before) = Self::read(key)?;
        let next = Self(before.saturating_add(1));
        let path = Self::path(key);
        let mut draft = OsString::from(&path);
        draft.push(".new");
        next.write(Path::new(&draft), &path).map_err(failed)?;
        Ok(next)
    }

    fn write(self, draft: &Path, path: &Path) -> io::Result<()> {
        // A draft that a crash left. No other program uses it, because this one holds the lock.
        if let Err(error) = fs::remove_file(draft)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(draft)?;
        writeln!(file, "{FILE_TAG} {}", self.0)?;
        file.sync_all()?;
        fs::rename(draft, path)?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::super::Seed;
    use super::*;

    fn key() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        Seed::generate().unwrap().write(&path).unwrap();
        (dir, path)
    }

    #[test]
    fn each_advance_stores_the_next_generation() {
        const PROGRAMS: u64 = 4;
        let (dir, key) = key();
        assert_eq!(Generation::read(&key).unwrap(), Generation(0));
        std::thread::scope(|scope| {
            for _ in 0..PROGRAMS {
                scope.spawn(|| Generation::advance(&key).unwrap());
            }
        });
        assert_eq!(Generation::read(&key).unwrap(), Generation(PROGRAMS));
        let path = Generation::path(&key);
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "a draft remains");
        let absent = Generation::advance(&dir.path().join("absent"));
        assert!(matches!(absent, Err(KeyError::Absent { .. })));
    }

    #[test]
    fn a_fifo_as_generation_is_refused_at_once() {
        let (_dir, key) = key();
        let path = Generation::path(&key);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o600.into(), 0).unwrap();
        let (sender, read) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(Generation::read(&key)));
        let read = read.recv_timeout(std::time::Duration::from_secs(60));
        let error = read.expect("does not wait").unwrap_err();
        assert!(matches!(error, KeyError::NotAFile { .. }), "{error}");
    }

    #[test]
    fn a_generation_that_is_none_or_that_others_can_change_is_not_taken_for_the_first() {
        let (_dir, key) = key();
        let path = Generation::path(&key);
        for text in [
            "",
            "baton-generation-v1",
            "baton-generation-v1 -1",
            "1",
            &"9".repeat(5000),
        ] {
            fs::write(&path, text).unwrap();
            let read = Generation::read(&key);
            assert!(
                matches!(read, Err(KeyError::Generation { .. })),
                "{text}: {read:?}"
            );
            assert!(Generation::advance(&key).is_err());
        }
        fs::write(&path, "baton-generation-v1 3\n").unwrap();
        assert_eq!(Generation::read(&key).unwrap(), Generation(3));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        let error = Generation::read(&key).unwrap_err().to_string();
        assert!(
            error.contains(&format!("`chmod go-w {}`", path.display())),
            "{error}"
        );
    }
}
