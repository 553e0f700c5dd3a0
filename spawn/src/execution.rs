//! The progress of a child to its exec.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::image::Image;
use crate::sys::memory::ChildMemory;
use crate::sys::report::{ReportReader, Reported};
use crate::sys::stack_pool::StackPool;
use crate::user::UserFailure;

/// The state of a child's exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionState {
    /// It has not called execve(2) yet.
    Pending,
    /// It has executed its program, at this time; `None` if it was killed before it could.
    Executed(Option<Instant>),
    /// execve(2), or a step before it, failed. The child exits, and the program did not run.
    Failed(Errno),
    /// As [`Failed`](Self::Failed), of a child that becomes another user.
    FailedAsUser(UserFailure),
}

/// Reports the state of a child's exec, and keeps its image until it has executed. Then the image is dropped: arguments
/// and environment may take megabytes, and a process may run for days.
///
/// A change of the state wakes no task. A child whose exec fails exits, and one that writes has executed.
pub struct Execution(Mutex<Stage>);

/// The state of a child at the last check.
enum Stage {
    /// It still used this process's memory, or its exec had failed.
    Before(Cloned),
    /// It becomes another user, and had not executed yet, or its exec had failed.
    AsUser(Forked),
    /// It had executed.
    Executed(Option<Instant>),
}

/// A child that shares this process's memory until its exec.
struct Cloned {
    memory: Arc<ChildMemory>,
    pool: StackPool,
    /// When it was created, by this process's clock.
    at: Instant,
    /// The same moment by the child's clock.
    at_ns: i64,
}

/// A child that becomes another user, and reports its progress.
struct Forked {
    report: ReportReader,
    /// When it was created, by this process's clock.
    at: Instant,
    /// The same moment by the child's clock.
    at_ns: i64,
}

impl Execution {
    /// Of a child that was created at `at`, which is `at_ns` by the child's clock.
    pub(crate) fn of_clone(memory: Arc<ChildMemory>, pool: StackPool, at: Instant, at_ns: i64) -> Self {
        Self(Mutex::new(Stage::Before(Cloned {
            memory,
            pool,
            at,
            at_ns,
        })))
    }

    /// Of a child that becomes another user, created at `at`, which is `at_ns` by the child's clock.
    pub(crate) fn of_report(report: ReportReader, at: Instant, at_ns: i64) -> Self {
        Self(Mutex::new(Stage::AsUser(Forked { report, at, at_ns })))
    }

    /// Of a child that had executed its program at `at`.
    pub(crate) fn executed_at(at: Instant) -> Self {
        Self(Mutex::new(Stage::Executed(Some(at))))
    }

    /// The state as it is now.
    pub fn state(&self) -> ExecutionState {
        let mut stage = self.lock();
        let child = match &mut *stage {
            Stage::Before(child) => child,
            Stage::AsUser(child) => {
                return match child.report.read() {
                    Reported::Pending => ExecutionState::Pending,
                    Reported::Failed(failure) => ExecutionState::FailedAsUser(failure),
                    Reported::Executed(ns) => {
                        let at = ns.and_then(|ns| instant_of(ns, child.at, child.at_ns));
                        *stage = Stage::Executed(at);
                        ExecutionState::Executed(at)
                    }
                };
            }
            Stage::Executed(at) => return ExecutionState::Executed(*at),
        };
        if !child.memory.has_left() {
            return ExecutionState::Pending;
        }
        if let Some(errno) = child.memory.errno() {
            return ExecutionState::Failed(errno);
        }
        let at = instant_of(child.memory.executed_ns(), child.at, child.at_ns);
        if let Stage::Before(child) = std::mem::replace(&mut *stage, Stage::Executed(at)) {
            child.pool.take_back(child.memory);
        }
        ExecutionState::Executed(at)
    }

    /// Calls `look` with the image. Returns `None` if [`state`](Self::state) has returned
    /// [`Executed`](ExecutionState::Executed), and for a child that becomes another user.
    pub fn with_image<T>(&self, look: impl FnOnce(&Image) -> T) -> Option<T> {
        match &*self.lock() {
            Stage::Before(child) => Some(look(child.memory.image())),
            Stage::AsUser(_) | Stage::Executed(_) => None,
        }
    }

    #[cfg(test)]
    pub(crate) fn with_memory<T>(&self, look: impl FnOnce(&ChildMemory) -> T) -> Option<T> {
        match &*self.lock() {
            Stage::Before(child) => Some(look(&child.memory)),
            Stage::AsUser(_) | Stage::Executed(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time `ns` of the child's clock by this process's clock, where `at` is `at_ns`.
fn instant_of(ns: i64, at: Instant, at_ns: i64) -> Option<Instant> {
    let since = u64::try_from(ns.checked_sub(at_ns)?).ok()?;
    Some(at + Duration::from_nanos(since))
}

impl Drop for Execution {
    fn drop(&mut self) {
        let stage = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Before(child) = std::mem::replace(stage, Stage::Executed(None)) {
            child.pool.take_back(child.memory);
        }
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Execution").field(&self.state()).finish()
    }
}
