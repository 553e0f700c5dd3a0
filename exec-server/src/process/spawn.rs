//! Creates the child, its pipes attached before it can write.
//!
//! This is glibc's `posix_spawn` (a `clone` that shares memory until the exec), which costs the same however large the
//! server is; `tests/spawn_path.rs` holds that. It blocks the thread until the child's exec, by design.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::sync::OnceLock;

use baton_trace::w3c::TraceContext;
use rustix::fs::{Access, FileType, OFlags, access, fcntl_setfl, stat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::environment::Inherited;
use super::launch::Launch;
use super::leader::Leader;
use super::pipe::{Pipe, Room};
use super::posix_spawn::{Image, posix_spawn};
use super::program::{self, Found, look};
use crate::error::StartError;

/// A running child.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) leader: Leader,
    /// `None` when the child reads /dev/null.
    pub(super) stdin: Option<Pipe<Sender>>,
    pub(super) stdout: Pipe<Receiver>,
    pub(super) stderr: Pipe<Receiver>,
}

/// Creates children, and holds what they have in common.
#[derive(Debug)]
pub(super) struct Spawner {
    inherited: Inherited,
    /// Opened at the first child that reads it.
    null: OnceLock<File>,
    large_pipes: Room,
}

impl Spawner {
    /// Children inherit the environment as it is now.
    pub(super) fn new() -> Self {
        Self {
            inherited: Inherited::capture(),
            null: OnceLock::new(),
            large_pipes: Room::new(),
        }
    }

    /// Spawns, or says why not, in which case nothing runs. Must be called in a tokio runtime.
    pub(super) fn spawn(
        &self,
        launch: Launch,
        context: Option<&TraceContext>,
    ) -> Result<Spawned, StartError> {
        let cwd = launch.cwd.as_deref();
        let directory = cwd.map(path_of);
        if directory.is_some_and(|directory| !is_directory(directory)) {
            return Err(StartError::BadCwd);
        }
        let environment = self.inherited.child(launch.environment, context);
        let search = environment.value("PATH").map(OsStr::from_bytes);
        let argv: Vec<&CStr> = launch.argv.iter().map(CString::as_c_str).collect();
        let name = argv
            .first()
            .map_or(OsStr::new(""), |name| OsStr::from_bytes(name.to_bytes()));
        let program = program::resolve(name, directory, search)?;
        let program =
            CString::new(program.into_os_string().into_vec()).map_err(|_| StartError::CommandNotFound)?;

        let stdin = launch
            .stdin
            .then(child_reads)
            .transpose()
            .map_err(StartError::SpawnFailed)?;
        let (stdout, childs_stdout) = child_writes().map_err(StartError::SpawnFailed)?;
        let (stderr, childs_stderr) = child_writes().map_err(StartError::SpawnFailed)?;
        let childs_stdin = match &stdin {
            Some((_, theirs)) => theirs.as_fd(),
            None => self.null().map_err(StartError::SpawnFailed)?,
        };
        let image = Image {
            program: &program,
            arguments: &argv,
            environment: &environment.strings(),
            cwd,
            stdio: [childs_stdin, childs_stdout.as_fd(), childs_stderr.as_fd()],
        };
        let pid = posix_spawn(&image).map_err(|error| explain(error, path_of(&program), directory))?;
        // From here on the leader kills the child if anything fails.
        let leader = Leader::new(pid).map_err(StartError::SpawnFailed)?;
        let receiver = |own| match Receiver::from_owned_fd_unchecked(own) {
            Ok(end) => Ok(Pipe::new(end, self.large_pipes.clone())),
            Err(error) => Err(StartError::SpawnFailed(error)),
        };
        let sender = |own| match Sender::from_owned_fd_unchecked(own) {
            Ok(end) => Ok(Pipe::new(end, self.large_pipes.clone())),
            Err(error) => Err(StartError::SpawnFailed(error)),
        };
        Ok(Spawned {
            leader,
            stdin: stdin.map(|(own, _)| sender(own)).transpose()?,
            stdout: receiver(stdout)?,
            stderr: receiver(stderr)?,
        })
    }

    fn null(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(null) = self.null.get() {
            return Ok(null.as_fd());
        }
        let null = File::open("/dev/null")?;
        Ok(self.null.get_or_init(|| null).as_fd())
    }
}

/// A pipe whose reading end is ours: ours first.
fn child_writes() -> io::Result<(OwnedFd, OwnedFd)> {
    let (own, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&own, OFlags::NONBLOCK)?;
    Ok((own, theirs))
}

/// A pipe whose writing end is ours: ours first.
fn child_reads() -> io::Result<(OwnedFd, OwnedFd)> {
    let (theirs, own) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&own, OFlags::NONBLOCK)?;
    Ok((own, theirs))
}

fn path_of(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

/// One error of the operating system can have several causes; the likeliest is looked up after the fact, so that a
/// start that works pays nothing.
fn explain(error: io::Error, program: &Path, cwd: Option<&Path>) -> StartError {
    if cwd.is_some_and(|cwd| !is_directory(cwd) || access(cwd, Access::EXEC_OK).is_err()) {
        return StartError::BadCwd;
    }
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => match look(program) {
            Found::Nothing => StartError::CommandNotFound,
            // It is there: what is missing is the interpreter it names.
            Found::Executable | Found::NotExecutable => StartError::NotExecutable,
        },
        Some(Errno::ACCESS | Errno::PERM | Errno::NOEXEC | Errno::ISDIR | Errno::LIBBAD) => {
            StartError::NotExecutable
        }
        _ => StartError::SpawnFailed(error),
    }
}

fn is_directory(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
