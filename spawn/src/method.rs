//! Chooses how children are created.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};

use crate::clone_spawner::CloneSpawner;
use crate::environment::Environment;
use crate::execution::ExecutionState;
use crate::image::Image;
use crate::std_spawner::StdSpawner;
use crate::sys::inherited::InheritedState;
use crate::{Spawn, SpawnError};

/// How children are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// [`Clone`](Self::Clone) where a probe of it succeeds, else [`Std`](Self::Std).
    #[default]
    Auto,
    /// [`CloneSpawner`].
    Clone,
    /// [`StdSpawner`].
    Std,
}

/// The result of [`Method::select`].
#[derive(Debug, Clone)]
pub struct Selected {
    /// Creates the children.
    pub spawner: Arc<dyn Spawn>,
    /// [`Method::Clone`] or [`Method::Std`].
    pub method: Method,
    /// Why [`Method::Auto`] has not chosen [`Method::Clone`].
    pub fallback: Option<CloneUnavailable>,
}

/// Why [`CloneSpawner`] does not work here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloneUnavailable {
    /// The kernel or a sandbox refuses clone(2) with these flags.
    #[error("clone with CLONE_VM and CLONE_PIDFD is refused: {0}")]
    Refused(Errno),
    /// The kernel creates no pidfds: Linux before 5.4.
    #[error("clone creates no pidfd")]
    NoPidfd,
    /// A sandbox kills the child for a system call before its exec.
    #[error("the child of a probe was killed by signal {0} before its exec")]
    Killed(i32),
    /// The child exited, but its pidfd was not readable.
    #[error("a pidfd does not report the exit of its process")]
    ExitNotReported,
    /// The child exited, but the kernel did not report that it had left this process's memory, or what it stored there
    /// was not seen.
    #[error("memory shared with a child does not work")]
    MemoryNotShared,
    /// A system call before the child's exec failed.
    #[error("a step of a child before its exec is refused: {0}")]
    StepRefused(Errno),
}

impl Method {
    /// The spawner of this method, whose children undo `inherited`. `Auto` and `Clone` create one child, which executes
    /// nothing, and wait for it: some 0.1 ms.
    ///
    /// # Errors
    /// [`Method::Clone`] does not work here.
    pub fn select(self, inherited: InheritedState) -> Result<Selected, CloneUnavailable> {
        match self {
            Self::Auto => Ok(Selected::auto(inherited)),
            Self::Clone => Selected::clone_only(inherited),
            Self::Std => Ok(Selected::std(inherited, None)),
        }
    }
}

impl Selected {
    /// As [`Method::Auto`].
    pub fn auto(inherited: InheritedState) -> Self {
        Self::clone_only(inherited).unwrap_or_else(|reason| Self::std(inherited, Some(reason)))
    }

    fn clone_only(inherited: InheritedState) -> Result<Self, CloneUnavailable> {
        let spawner = CloneSpawner::new(inherited);
        probe(&spawner)?;
        Ok(Self {
            spawner: Arc::new(spawner),
            method: Method::Clone,
            fallback: None,
        })
    }

    fn std(inherited: InheritedState, fallback: Option<CloneUnavailable>) -> Self {
        Self {
            spawner: Arc::new(StdSpawner::new(inherited)),
            method: Method::Std,
            fallback,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Clone => "clone",
            Self::Std => "std",
        })
    }
}

/// Creates a child that makes all system calls of a child, with a program that does not exist. A lack of resources may
/// be over at the next start, so it is no reason against clone.
fn probe(spawner: &CloneSpawner) -> Result<(), CloneUnavailable> {
    let Ok(stdio) = descriptor() else { return Ok(()) };
    let image = Image {
        program: CString::default(),
        arguments: vec![CString::default()],
        environment: Environment::new(None, Vec::new()),
        cwd: None,
        terminal: false,
        cgroup: None,
    };
    let child = match spawner.spawn(image, [stdio.as_fd(); 3]) {
        Ok(child) => child,
        Err(error) => return refusal(&error).map_or(Ok(()), Err),
    };
    let Ok(Some((_, status))) = waitpid(Some(child.pid), WaitOptions::empty()) else {
        return Ok(());
    };
    if let Some(signal) = status.terminating_signal() {
        return Err(CloneUnavailable::Killed(signal));
    }
    if !child.pidfd.as_ref().is_some_and(is_readable) {
        return Err(CloneUnavailable::ExitNotReported);
    }
    match child.execution.state() {
        ExecutionState::Failed(Errno::NOENT) => Ok(()),
        ExecutionState::Failed(errno) => Err(CloneUnavailable::StepRefused(errno)),
        ExecutionState::Pending | ExecutionState::Executed(_) | ExecutionState::FailedAsUser(_) => {
            Err(CloneUnavailable::MemoryNotShared)
        }
    }
}

/// A descriptor that may become descriptor 0, 1 or 2 of a child.
fn descriptor() -> io::Result<OwnedFd> {
    let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok(fcntl_dupfd_cloexec(reader, 3)?)
}

fn is_readable(pidfd: &OwnedFd) -> bool {
    let mut pidfd = [PollFd::new(pidfd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut pidfd, Some(&now)), Ok(1))
}

/// `None`: the error is temporary.
fn refusal(error: &SpawnError) -> Option<CloneUnavailable> {
    let error = match error {
        SpawnError::NotCreated(error) => error,
        SpawnError::NotExecuted { errno, .. } => return Some(CloneUnavailable::StepRefused(*errno)),
    };
    if error.kind() == io::ErrorKind::Unsupported && error.raw_os_error().is_none() {
        return Some(CloneUnavailable::NoPidfd);
    }
    match Errno::from_io_error(error)? {
        Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE => None,
        errno => Some(CloneUnavailable::Refused(errno)),
    }
}
