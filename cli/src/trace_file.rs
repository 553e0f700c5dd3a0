//! The file of `--trace-json`. A failure to write it never changes a command's exit code.
//!
//! If a command created the file and then has no trace to write, the file is removed: an empty one would look like a
//! broken trace.
//!
//! Each command appends one line, an OTLP/JSON object, in a single write. Before the file would exceed
//! [`TRACE_FILE_MAX`] it is renamed to `FILE.1`, which replaces an earlier one, and a new file is created. So there are
//! at most two files, for any number of commands, also concurrent ones.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use baton_export::json;
use baton_trace::record::CallRecord;
use rustix::fs::{FlockOperation, Mode, OFlags, PROC_SUPER_MAGIC, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::CliError;
use crate::limits::{LINKS_MAX, TRACE_FILE_MAX};

/// A trace file, opened before the command runs, so that a wrong path is reported first.
pub(crate) struct TraceFile {
    path: PathBuf,
    file: File,
    /// This command created it.
    is_ours: bool,
}

impl TraceFile {
    /// Opens the file; creates it if it does not exist.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Option<Self>, CliError> {
        let Some(path) = path else { return Ok(None) };
        let opened = match options().create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                open(&path).map(|file| (file, false))
            }
            made => made.map(|file| (file, true)),
        };
        match opened {
            Ok((file, is_ours)) => Ok(Some(Self { path, file, is_ours })),
            Err(source) => Err(CliError::Write { path, source }),
        }
    }

    /// Appends a trace. A failure is only printed, because the command has already run.
    pub(crate) fn write(self, record: &CallRecord) {
        if let Err(error) = append(&self.path, &self.file, record, TRACE_FILE_MAX) {
            stderr_line!("baton: the trace is not in {}: {error}", self.path.display());
        }
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        // Under the lock: another command that is about to append checks the path again under the lock.
        if self.is_ours && flock(&self.file, FlockOperation::LockExclusive).is_ok() {
            let is_empty = self.file.metadata().is_ok_and(|own| own.len() == 0);
            if is_empty && is_current(&self.path, &self.file).unwrap_or(false) {
                // A remaining empty file does no harm.
                let _ = fs::remove_file(&self.path);
            }
        }
    }
}

/// Only its owner can read a new file, because a trace contains commands and times.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .append(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Opens a file for appending; creates it if it does not exist. Follows symbolic links of this user and of root
/// (`/dev/stdout` is one). A link of another user could select any of this user's files.
fn open(path: &Path) -> io::Result<File> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match options().create(true).open(&path) {
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {}
            opened => return opened,
        }
        // An open link stays the same file if its path is replaced.
        let link = rustix::fs::open(
            &path,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let owner = rustix::fs::fstat(&link)?.st_uid;
        if owner != 0 && owner != geteuid().as_raw() {
            let problem = format!(
                "it is a symbolic link of another user ({owner}), which is not followed; pass the path of the file \
                 itself"
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
        if rustix::fs::fstatfs(&link)?.f_type == PROC_SUPER_MAGIC {
            // A link to an open descriptor, whose target has no path.
            return OpenOptions::new().append(true).open(&path);
        }
        let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        // An absolute target replaces the directory.
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(Errno::LOOP.into())
}

fn append(path: &Path, mut file: &File, record: &CallRecord, max: u64) -> io::Result<()> {
    let mut line = Vec::new();
    json::write(&mut line, std::slice::from_ref(record))?;
    // Only a plain file is rotated. Anything else, such as /dev/stdout, is a pipe, a terminal or a link.
    let is_plain = match fs::symlink_metadata(path) {
        Ok(found) => found.is_file(),
        // Rotated, or removed by the command that created it.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_plain {
        return file.write_all(&line);
    }
    rotated(path, file.try_clone()?, line.len() as u64, max)?.write_all(&line)
}

/// Whether `path` still names `file`.
fn is_current(path: &Path, file: &File) -> io::Result<bool> {
    let own = file.metadata()?;
    Ok(fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino())))
}

/// Locks the file, and rotates it if it has no room for `len` bytes. Returns the file to append to.
fn rotated(path: &Path, mut file: File, len: u64, max: u64) -> io::Result<File> {
    loop {
        flock(&file, FlockOperation::LockExclusive)?;
        if is_current(path, &file)? {
            let own = file.metadata()?;
            if own.len() == 0 || own.len() + len <= max {
                return Ok(file);
            }
            let mut old = path.as_os_str().to_owned();
            old.push(".1");
            fs::rename(path, old)?;
        }
        // The file was renamed to FILE.1, by this or another command.
        file = open(path)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use baton_export::clock;
    use baton_trace::record::Side;
    use baton_trace::status::RpcStatus;
    use baton_trace::w3c::TraceContext;

    use super::*;

    fn record() -> CallRecord {
        CallRecord {
            side: Side::Client,
            context: TraceContext::new_root(true),
            parent: None,
            links: Vec::new(),
            method: "a.B/C".into(),
            anchor: clock::anchor(),
            stages: Vec::new(),
            status: RpcStatus(0),
            clock: None,
            server_unix_ns: None,
            server_calls: Vec::new(),
            attributes: Vec::new(),
            command: None,
        }
    }

    fn lines(path: &Path) -> usize {
        fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }

    #[test]
    fn a_trace_file_grows_to_its_limit_and_then_makes_room_once() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("t.json"), dir.path().join("t.json.1"));
        let mut one = Vec::new();
        json::write(&mut one, &[record()]).unwrap();
        // Room for three.
        let max = one.len() as u64 * 7 / 2;
        let append = || append(&path, &open(&path).unwrap(), &record(), max).unwrap();
        for expected in [(1, 0), (2, 0), (3, 0), (1, 3), (2, 3), (3, 3), (1, 3)] {
            append();
            assert_eq!((lines(&path), lines(&old)), expected);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_another_command_has_just_rotated_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("t.json"), dir.path().join("t.json.1"));
        let early = open(&path).unwrap();
        fs::rename(&path, &old).unwrap();
        append(&path, &early, &record(), 1 << 20).unwrap();
        append(&path, &open(&path).unwrap(), &record(), 1 << 20).unwrap();
        assert_eq!((lines(&path), lines(&old)), (2, 0));
        let early = open(&path).unwrap();
        fs::rename(&path, &old).unwrap();
        fs::write(&path, "").unwrap();
        append(&path, &early, &record(), 1 << 20).unwrap();
        assert_eq!(lines(&path), 1);
    }

    #[test]
    fn a_file_without_a_trace_goes_with_the_command_that_made_it_and_takes_no_other_s_trace_along() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.json");
        let begin = || TraceFile::open(Some(path.clone())).unwrap().unwrap();
        let (first, second) = (begin(), begin());
        drop(first);
        assert!(!path.exists());
        second.write(&record());
        assert_eq!(lines(&path), 1);
        let (third, _fourth) = (begin(), begin());
        third.write(&record());
        assert_eq!(lines(&path), 2);
    }

    #[test]
    fn what_is_no_plain_file_is_only_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("t.json"), dir.path().join("link"));
        fs::write(&path, "x\n").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        append(&link, &open(&link).unwrap(), &record(), 1).unwrap();
        assert_eq!(lines(&path), 2);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        // As /dev/stdout leads to an open pipe.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let link = dir.path().join("pipe");
        std::os::unix::fs::symlink(format!("/proc/self/fd/{}", writer.as_raw_fd()), &link).unwrap();
        TraceFile::open(Some(link)).unwrap().unwrap().write(&record());
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_trace_file_is_its_owner_s_alone_and_a_link_of_another_user_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("t.json"), dir.path().join("link"));
        TraceFile::open(Some(path.clone()))
            .unwrap()
            .unwrap()
            .write(&record());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::os::unix::fs::symlink("t.json", &link).unwrap();
        TraceFile::open(Some(link.clone()))
            .unwrap()
            .unwrap()
            .write(&record());
        assert_eq!(lines(&path), 2, "a relative link of our own is followed");
        // Only root can give a link away.
        if geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(4_242), None).unwrap();
            let error = TraceFile::open(Some(link)).map(|_| ()).unwrap_err().to_string();
            assert!(
                error.contains("a symbolic link of another user (4242)"),
                "{error}"
            );
            assert_eq!(lines(&path), 2);
        }
        let circle = dir.path().join("circle");
        std::os::unix::fs::symlink("circle", &circle).unwrap();
        assert!(TraceFile::open(Some(circle)).is_err());
    }
}
