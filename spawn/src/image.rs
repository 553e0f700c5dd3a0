//! The program of a child, and its arguments.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use crate::environment::Environment;

/// The arguments of a child's execve(2), and its working directory.
#[derive(Debug)]
pub struct Image {
    /// An absolute path, but for a [`UserSpawner`](crate::UserSpawner). No directory is searched.
    pub program: CString,
    /// `argv`, its first element included.
    pub arguments: Vec<CString>,
    /// `envp`.
    pub environment: Environment,
    /// The working directory; `None` is this process's own.
    pub cwd: Option<CString>,
    /// Its standard input is a terminal, which becomes its controlling terminal: it leads a session of its own, and not
    /// only a process group.
    pub terminal: bool,
    /// The directory of the cgroup v2 that it is created in, close-on-exec; `None` is this process's own. Closed when the
    /// child has been created.
    pub cgroup: Option<OwnedFd>,
}
