//! One exec-server for each state directory, by a lock of the kernel.
//!
//! The lock is `flock(2)` on the file `lock`. It ends with the process however that ends, so a crash needs no cleanup.
//! The file contains its holder's pid and name, for the error message of the next exec-server. The file is never
//! removed: if it were removed while another process waits for it, two could hold a lock of that name.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};

use super::error::{LockHolder, OpenError};
use super::state_directory::private;
use crate::limits;

/// Longest name that is written to the file or read from it.
const NAME_BYTES: usize = 256;

/// The lock. Dropping it releases it.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock, or returns its holder.
    pub(super) fn take(path: &Path, name: &str) -> Result<Self, OpenError> {
        let failed = |error: io::Error| OpenError::from_io(path, error);
        let mut file = private(path).map_err(failed)?;
        match patiently(&file) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(OpenError::InUse {
                    directory: path.parent().unwrap_or(path).to_owned(),
                    holder: read(&mut file),
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        write(&mut file, name).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Retries for a moment, because a child that the last holder was creating holds the lock too, between its fork and its
/// exec.
fn patiently(file: &File) -> rustix::io::Result<()> {
    let until = Instant::now() + limits::LOCK_TIMEOUT;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                thread::sleep(limits::LOCK_TIMEOUT / 20)
            }
            taken => return taken,
        }
    }
}

fn write(file: &mut File, name: &str) -> io::Result<()> {
    let text = format!("{}\n{}\n", std::process::id(), plain(name));
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

/// The holder that wrote the file; `None` if it is empty, as between taking the lock and writing.
fn read(file: &mut File) -> Option<LockHolder> {
    let mut text = Vec::new();
    file.take(NAME_BYTES as u64 + 32).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (pid, name) = text.split_once('\n')?;
    Some(LockHolder {
        pid: pid.parse().ok()?,
        name: plain(name.trim_end()),
    })
}

/// One line without control characters, because the file is untrusted.
fn plain(name: &str) -> String {
    let mut plain: String = name.chars().filter(|c| !c.is_control()).collect();
    plain.truncate(plain.floor_char_boundary(NAME_BYTES));
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_the_name_and_pid_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = DirectoryLock::take(&path, "builder\x1b[31m of\nnight").unwrap();
        let Err(OpenError::InUse {
            holder: Some(holder), ..
        }) = DirectoryLock::take(&path, "second")
        else {
            panic!("two locks");
        };
        assert_eq!(holder.pid, std::process::id());
        assert_eq!(holder.name, "builder[31m ofnight");
        drop(first);
        DirectoryLock::take(&path, "second").unwrap();
    }

    #[test]
    fn a_lock_file_of_any_content_is_taken_and_rewritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        std::fs::write(&path, vec![0xff; 1 << 20]).unwrap();
        let lock = DirectoryLock::take(&path, "me").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("{}\nme\n", std::process::id())
        );
        drop(lock);
    }
}
