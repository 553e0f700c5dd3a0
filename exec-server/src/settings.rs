//! The settings of an [`ExecService`](crate::ExecService).

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

use baton_spawn::Method as SpawnMethod;

use crate::cgroup::Cgroups;
use crate::limits::{GRACE_MAX, MAX_PROCESSES};

/// The settings of an [`ExecService`](crate::ExecService).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Processes alive at once, over all clients. What each can cost is at [`MAX_PROCESSES`].
    pub max_processes: usize,
    /// The working directory of a command whose start names none.
    pub directory: Directory,
    /// How commands are started.
    pub spawn: SpawnMethod,
    /// The soft limit on open files that commands start with, for a server that has raised its own; `None`: this
    /// process's.
    pub open_files: Option<u64>,
    /// The longest time that a process may outlive its session. A client states a shorter one in `Start`, or none. Zero
    /// kills every process with its session.
    pub max_grace: Duration,
    /// The user that commands run as, unless their client's line on the allow-list names another one
    /// ([`ClientOptions::user`](baton_channel::allow::ClientOptions::user)); `None`: this process's own. Each start is
    /// refused while [`check_user`](crate::check_user) is an error. With a user, clients are refused the file services.
    pub user: Option<String>,
    /// Every process gets a cgroup of its own below this directory, by which it is killed with all its descendants;
    /// `None`: processes stay in this process's cgroup, and descendants are found in /proc alone.
    pub cgroups: Option<Cgroups>,
    /// Reaps every child of this process that the service has not created: for a process that gets the orphans of
    /// commands, because it is the first one of a container, or a subreaper. The program must create no children beside
    /// the service, and no second service, because their exit statuses would be lost. The service must be created in a tokio runtime with IO and time.
    pub reap_orphans: bool,
}

/// The working directory of a command whose start names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directory {
    /// The home directory of the server's user; the server's own directory where there is no home.
    Home,
    /// The server's own directory.
    Own,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_processes: MAX_PROCESSES,
            directory: Directory::Home,
            spawn: SpawnMethod::Auto,
            open_files: None,
            max_grace: GRACE_MAX,
            user: None,
            cgroups: None,
            reap_orphans: false,
        }
    }
}

impl Directory {
    /// `None` is the server's own.
    pub(crate) fn path(self) -> Option<CString> {
        let home = self.home()?;
        CString::new(home.into_os_string().into_vec()).ok()
    }

    /// The directory if it exists, else the server's own. May wait for the file system.
    pub(crate) fn present(self) -> PathBuf {
        self.home()
            .filter(|home| home.is_dir())
            .unwrap_or_else(|| PathBuf::from("."))
    }

    fn home(self) -> Option<PathBuf> {
        match self {
            Self::Home => std::env::home_dir().filter(|home| home.is_absolute()),
            Self::Own => None,
        }
    }
}
