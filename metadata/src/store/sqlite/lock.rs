//! One exec-server a state directory, held by a lock of the kernel's.
//!
//! The lock is `flock(2)` on the file `lock`: it ends with the process however that ends, so nobody has to clean up after a crash. The
//! file's text says who holds it, for the message that the next one gets. The file is never removed: removing it while another waits
//! for it would let two hold "the" lock.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};

use super::error::{LockHolder, OpenError};
use super::state_directory::private;
use crate::limits;

/// Longest name that is kept in the file or read from it.
const NAME_BYTES: usize = 256;

/// The lock, as long as this lives.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock at once or says who has it.
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

/// A child that the last holder was just making holds the lock too, between its fork and its exec: that is over in a moment.
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

/// Who wrote the file; `None` if it says nothing, as in the instant between taking the lock and writing.
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

/// One line that is safe to print, whoever wrote the file.
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
