//! Opens only regular files, and never blocks on opening.
//!
//! For files that a program rereads while it runs: key lists, certificates, a repository's `HEAD`. Opening a FIFO
//! blocks until another process opens it for writing, which would block a server. A device or a FIFO cannot be reread
//! either.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// A regular file, open for reading.
#[derive(Debug)]
pub struct RegularFile {
    file: File,
    metadata: Metadata,
}

/// A file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A directory, a FIFO, a socket or a device.
    #[error("not a regular file")]
    NotRegular,
}

impl RegularFile {
    /// Opens the file at `path`; follows symbolic links. Never blocks.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path);
        let file = match opened {
            // A socket, or a device without a driver.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                return Err(OpenError::NotRegular);
            }
            opened => opened?,
        };
        let metadata = file.metadata()?;
        match metadata.is_file() {
            true => Ok(Self { file, metadata }),
            false => Err(OpenError::NotRegular),
        }
    }

    /// The metadata of the open file, even if its name was replaced since.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The whole file, of at most `max` bytes.
    ///
    /// A longer file is [`io::ErrorKind::FileTooLarge`].
    pub fn read(self, max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
        within(bytes.len(), max)?;
        Ok(bytes)
    }

    /// The whole file, of at most `max` bytes of UTF-8.
    ///
    /// A longer file is [`io::ErrorKind::FileTooLarge`], another encoding [`io::ErrorKind::InvalidData`].
    pub fn read_to_string(self, max: u64) -> io::Result<String> {
        let mut text = String::new();
        self.file.take(max.saturating_add(1)).read_to_string(&mut text)?;
        within(text.len(), max)?;
        Ok(text)
    }
}

impl From<RegularFile> for File {
    fn from(opened: RegularFile) -> Self {
        opened.file
    }
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => error,
            OpenError::NotRegular => Self::new(io::ErrorKind::InvalidInput, error),
        }
    }
}

fn within(len: usize, max: u64) -> io::Result<()> {
    match len as u64 > max {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "1234").unwrap();
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        for path in [&path, &link] {
            let opened = || RegularFile::open(path).unwrap();
            assert_eq!(opened().metadata().len(), 4);
            assert_eq!(opened().read(4).unwrap(), b"1234");
            assert_eq!(opened().read_to_string(4).unwrap(), "1234");
            let too_large = |error: io::Error| error.kind() == io::ErrorKind::FileTooLarge;
            assert!(opened().read(3).is_err_and(too_large));
            assert!(opened().read_to_string(3).is_err_and(too_large));
        }
        fs::write(&path, [0xff]).unwrap();
        let error = RegularFile::open(&path).unwrap().read_to_string(4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_missing_file_is_told_from_one_that_is_not_regular() {
        let dir = tempfile::tempdir().unwrap();
        let missing = RegularFile::open(&dir.path().join("missing"));
        assert!(matches!(missing, Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound));
        // Without a writer: a plain open would never return.
        let fifo = dir.path().join("fifo");
        mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for path in [dir.path(), &fifo, &socket, Path::new("/dev/null")] {
            let error = RegularFile::open(path).unwrap_err();
            assert!(
                matches!(error, OpenError::NotRegular),
                "{}: {error}",
                path.display()
            );
        }
    }
}
