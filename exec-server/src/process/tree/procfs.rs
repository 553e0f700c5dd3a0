//! The processes of this machine, as /proc shows them, and signals to them.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::mark::{MARK_VARIABLE, Mark};
use crate::cgroup::Cgroup;
use crate::limits::{ENVIRONMENT_READ_BYTES, ENVIRONMENT_READ_MAX};

/// What the sweep sees of processes, and does to them. The tests have another one.
pub(super) trait Processes {
    /// A process that its pid named when it was opened. A signal through it never reaches a later process.
    type Handle;

    /// The cgroup of a tree.
    type Cgroup;

    /// All processes but the kernel's own.
    fn list(&mut self) -> io::Result<Vec<ProcessStat>>;

    /// The process with this pid.
    fn look(&mut self, pid: u32) -> Option<ProcessStat>;

    fn environment(&mut self, pid: u32) -> Environment;

    /// The pids of all processes in a cgroup.
    fn members(&mut self, cgroup: &Self::Cgroup) -> Vec<u32>;

    /// Kills all processes in a cgroup.
    fn kill_all(&mut self, cgroup: &Self::Cgroup);

    fn open(&mut self, pid: u32) -> Result<Self::Handle, Errno>;

    fn send(&mut self, handle: &Self::Handle, signal: Signal) -> Result<(), Errno>;
}

/// The environment of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Environment {
    Marked(Mark),
    /// It has no mark, or cannot be read.
    Unmarked,
    /// There is none, or there is none yet: in the middle of execve(2) the old one is gone.
    Empty,
}

/// A part of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessStat {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
    /// In clock ticks after the boot.
    pub(super) started: u64,
    /// It has ended, and its parent has not reaped it.
    pub(super) is_zombie: bool,
}

/// The operating system's.
#[derive(Debug, Default)]
pub(super) struct Procfs {
    /// Kept for the next environment.
    buffer: Vec<u8>,
}

/// See [`Processes::Handle`].
#[derive(Debug)]
pub(super) enum Handle {
    Pidfd(OwnedFd),
    /// Where the kernel has no pidfds, or a sandbox refuses them. Between the check of a process and the signal the pid
    /// could pass to another process, if all other pids were used up in that instant.
    Pid(Pid),
}

impl Processes for Procfs {
    type Handle = Handle;
    type Cgroup = Arc<Cgroup>;

    fn list(&mut self) -> io::Result<Vec<ProcessStat>> {
        let mut list = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            list.extend(pid.and_then(|pid| self.look(pid)));
        }
        Ok(list)
    }

    fn look(&mut self, pid: u32) -> Option<ProcessStat> {
        // More than the longest name and 50 numbers take.
        let mut stat = [0; 2048];
        let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
        let length = file.read(&mut stat).ok()?;
        parse(pid, stat.get(..length)?)
    }

    fn environment(&mut self, pid: u32) -> Environment {
        let Ok(environment) = File::open(format!("/proc/{pid}/environ")) else {
            return Environment::Unmarked;
        };
        self.buffer.clear();
        let mut from = 0;
        while self.buffer.len() < ENVIRONMENT_READ_MAX {
            let part = (&environment).take(ENVIRONMENT_READ_BYTES as u64);
            let Ok(length) = { part }.read_to_end(&mut self.buffer) else {
                return Environment::Unmarked;
            };
            if self.buffer.is_empty() {
                return Environment::Empty;
            }
            // The last variable may have been cut.
            let end = self.buffer.iter().rposition(|byte| *byte == 0).unwrap_or(0);
            if let Some(mark) = self.buffer.get(from..end).and_then(find_mark) {
                return Environment::Marked(mark);
            }
            if length < ENVIRONMENT_READ_BYTES {
                break;
            }
            from = end;
        }
        Environment::Unmarked
    }

    fn members(&mut self, cgroup: &Arc<Cgroup>) -> Vec<u32> {
        cgroup.members()
    }

    fn kill_all(&mut self, cgroup: &Arc<Cgroup>) {
        // Where this fails, its members are found and killed one by one.
        let _ = cgroup.kill();
    }

    fn open(&mut self, pid: u32) -> Result<Handle, Errno> {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(Errno::SRCH)?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Handle::Pidfd(pidfd)),
            Err(Errno::SRCH) => Err(Errno::SRCH),
            // No pidfds, or no free descriptor.
            Err(_) => Ok(Handle::Pid(pid)),
        }
    }

    fn send(&mut self, handle: &Handle, signal: Signal) -> Result<(), Errno> {
        match handle {
            Handle::Pidfd(pidfd) => pidfd_send_signal(pidfd, signal),
            Handle::Pid(pid) => kill_process(*pid, signal),
        }
    }
}

/// The children of this process that have exited and are not reaped; none if /proc cannot be read.
pub(crate) fn child_zombies() -> Vec<Pid> {
    let own = std::process::id();
    let list = Procfs::default().list().unwrap_or_default();
    let zombies = list
        .into_iter()
        .filter(|process| process.is_zombie && process.parent == own);
    let pids = zombies.filter_map(|process| Pid::from_raw(i32::try_from(process.pid).ok()?));
    pids.collect()
}

/// `PF_KTHREAD` of Linux: a thread of the kernel.
const OF_KERNEL: u32 = 0x0020_0000;

/// The first mark among the variables, each of which ends with a NUL.
fn find_mark(variables: &[u8]) -> Option<Mark> {
    let named = |variable: &[u8]| {
        let value = variable
            .strip_prefix(MARK_VARIABLE.as_bytes())?
            .strip_prefix(b"=")?;
        Mark::from_value(value)
    };
    variables.split(|byte| *byte == 0).find_map(named)
}

/// The second field is the program's name in parentheses, and may hold anything, `) ` included: count from the last
/// one.
fn parse(pid: u32, stat: &[u8]) -> Option<ProcessStat> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let is_zombie = matches!(fields.next()?, "Z" | "X" | "x");
    let mut number = || fields.next()?.parse().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    // The session is field 6, the flags are field 9, the start is field 22.
    let flags: u32 = fields.nth(9 - 7)?.parse().ok()?;
    let started = fields.nth(22 - 10)?.parse().ok()?;
    if flags & OF_KERNEL != 0 {
        return None;
    }
    Some(ProcessStat {
        pid,
        parent,
        group,
        session,
        started,
        is_zombie,
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::super::mark::Marks;
    use super::*;

    /// `sleep` with these variables and no others.
    fn sleeper(variables: &[(&str, &str)]) -> Child {
        let mut command = Command::new("/bin/sleep");
        command.arg("60").env_clear().envs(variables.iter().copied());
        command.spawn().unwrap()
    }

    #[test]
    fn a_program_may_be_called_anything() {
        let stat = b"7 (a) Z 1 (b) S 1 2 3 4 5 64 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        let expected = ProcessStat {
            pid: 7,
            parent: 1,
            group: 2,
            session: 3,
            started: 4242,
            is_zombie: false,
        };
        assert_eq!(parse(7, stat), Some(expected));
        let kernels = b"7 (a) S 1 2 3 4 5 2097216 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(parse(7, kernels), None);
        for damaged in [&b"7 (a) S 1 1 1"[..], b"", b"\xff)\xff", b"7 (a) S -1 2"] {
            assert_eq!(parse(7, damaged), None);
        }
    }

    #[test]
    fn a_process_is_listed_as_it_is() {
        let mut procfs = Procfs::default();
        let me = procfs.look(std::process::id()).unwrap();
        let mut child = sleeper(&[]);
        let listed = procfs.list().unwrap();
        let its = listed.iter().find(|process| process.pid == child.id()).unwrap();
        assert_eq!(
            (its.parent, its.group, its.session),
            (me.pid, me.group, me.session)
        );
        assert!(its.started >= me.started);
        child.kill().unwrap();
        while !procfs.look(child.id()).unwrap().is_zombie {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(procfs.look(child.id()), None);
        assert_eq!(procfs.open(child.id()).err(), Some(Errno::SRCH));
    }

    #[test]
    fn a_mark_is_found_wherever_it_is_in_a_large_environment() {
        let mark = Marks::new().next();
        let variable = mark.variable().unwrap();
        let value = str::from_utf8(variable.value()).unwrap();
        // Two reads, the second of which begins within the mark for some of these lengths.
        let longest = "x".repeat(ENVIRONMENT_READ_BYTES - 2);
        for cut in 0..64 {
            let long = &longest[cut..];
            let mut child = sleeper(&[("A", long), (MARK_VARIABLE, value), ("Z", "1")]);
            let mut procfs = Procfs::default();
            // The environment is that of the test until the exec.
            let found = (0..10_000).find_map(|_| {
                std::thread::yield_now();
                match procfs.environment(child.id()) {
                    Environment::Marked(mark) => Some(mark),
                    Environment::Unmarked | Environment::Empty => None,
                }
            });
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(found, Some(mark), "{cut}");
        }
    }

    #[test]
    fn only_a_whole_mark_under_its_name_counts() {
        let mark = Marks::new().next();
        let variable = mark.variable().unwrap();
        let value = variable.value();
        let named = |name: &[u8], value: &[u8]| [b"A=1\0", name, b"=", value, b"\0"].concat();
        let name = MARK_VARIABLE.as_bytes();
        assert_eq!(find_mark(&named(name, value)), Some(mark));
        assert_eq!(find_mark(&named(name, &value[1..])), None);
        assert_eq!(find_mark(&named(&name[1..], value)), None);
        assert_eq!(find_mark(&named(b"MY_BATON_PROCESS_MARK", value)), None);
    }
}
