//! Why a directory cannot be used for cgroups.

use std::io;

/// Fault of the exec-server's owner: the directory cannot be used for the cgroups of processes.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// It does not exist, is no directory, or may not be read.
    #[error("it cannot be opened: {0}; pass an existing directory of a cgroup v2 file system")]
    NotOpened(#[source] io::Error),
    /// Cgroup v1, or no cgroup at all.
    #[error(
        "it is no directory of a cgroup v2 file system; `grep cgroup2 /proc/mounts` shows where one is mounted"
    )]
    NotCgroup2,
    /// Another exec-server has locked it.
    #[error("another exec-server uses it; give each exec-server a directory of its own")]
    Taken,
    /// No cgroup can be created.
    #[error(
        "no cgroup can be created in it: {0}; the exec-server needs the right to write there, for example as a service \
        of systemd with Delegate=yes"
    )]
    NotWritable(#[source] io::Error),
    /// Linux before 5.14.
    #[error("this kernel cannot kill a cgroup; use Linux 5.14 or newer")]
    NoKill,
    /// The kernel does not create or move a process there.
    #[error(
        "no process can be started in a cgroup of it: {0}; unless the exec-server is root, it has to run in this \
        directory or below it, for example as a service of systemd with Delegate=yes"
    )]
    NoProcess(#[source] io::Error),
    /// A limit on memory needs the memory controller.
    #[error("the memory of commands cannot be limited: {0}")]
    Memory(#[source] MemoryUnavailable),
}

/// Why the cgroups of processes have no memory controller.
#[derive(Debug, thiserror::Error)]
pub enum MemoryUnavailable {
    /// `cgroup.controllers` does not have it.
    #[error(
        "the directory has no memory controller (cgroup.controllers); enable it in the directory above it \
        (cgroup.subtree_control), or with Delegate=memory in the unit of systemd"
    )]
    NotDelegated,
    /// Linux gives the cgroups below one a controller only if that one has no processes itself.
    #[error(
        "the directory has processes itself, such as the exec-server, so that the cgroups below it get no memory \
        controller; move them to a cgroup beside those of commands, for example with DelegateSubgroup=server in the \
        unit of systemd"
    )]
    HasProcesses,
    /// The kernel refuses it for another reason.
    #[error("the memory controller cannot be enabled in cgroup.subtree_control: {0}")]
    Refused(#[source] io::Error),
}
