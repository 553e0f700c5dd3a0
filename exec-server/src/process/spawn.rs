//! Creates the child, its pipes attached before it can write.
//!
//! This stays on glibc's `posix_spawn` (a `clone` that shares memory until the exec) and costs the same however large the
//! server is: the program is an absolute path, and nothing is asked for that would make the standard library fork (no
//! `pre_exec`, no user or group change). A process group of its own, a working directory and environment changes all stay on
//! it; `tests/spawn_path.rs` holds that. `posix_spawn` blocks the thread until the child's exec, by design.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use baton_trace::w3c::TraceContext;
use rustix::fs::{Access, FileType, access, stat};
use rustix::io::Errno;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use super::environment;
use super::launch::Launch;
use super::leader::Leader;
use super::program::{self, Found, look};
use crate::error::StartError;

/// A running child.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) leader: Leader,
    /// `None` when the child reads /dev/null.
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// Spawns, or says why not, in which case nothing runs. Must be called in a tokio runtime.
pub(super) fn spawn(launch: &Launch, context: Option<&TraceContext>) -> Result<Spawned, StartError> {
    let cwd = launch.cwd.as_deref();
    if cwd.is_some_and(|cwd| !is_directory(cwd)) {
        return Err(StartError::BadCwd);
    }
    let path = launch.variable("PATH");
    let program = program::resolve(&launch.program, cwd, path.as_deref())?;
    let mut command = Command::new(&program);
    command
        .arg0(&launch.program)
        .args(&launch.arguments)
        .process_group(0)
        .stdin(if launch.stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(cwd) = cwd {
        command.current_dir(cwd);
    }
    environment::apply(&mut command, launch, context);
    let mut child = command.spawn().map_err(|error| explain(error, &program, cwd))?;

    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // From here on the leader kills the child if anything fails.
    let leader = Leader::new(child).map_err(StartError::SpawnFailed)?;
    let missing = || StartError::SpawnFailed(io::ErrorKind::BrokenPipe.into());
    let stdout = ChildStdout::from_std(stdout.ok_or_else(missing)?).map_err(StartError::SpawnFailed)?;
    let stderr = ChildStderr::from_std(stderr.ok_or_else(missing)?).map_err(StartError::SpawnFailed)?;
    let stdin = stdin
        .map(ChildStdin::from_std)
        .transpose()
        .map_err(StartError::SpawnFailed)?;
    Ok(Spawned {
        leader,
        stdin,
        stdout,
        stderr,
    })
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
