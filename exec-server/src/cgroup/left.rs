//! The cgroups that cannot be removed yet, because daemons of a finished process, or what the kernel has not ended yet,
//! are in them. A task tries again while there are some.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::sleep;

use super::{Shared, is_own_name, remove};
use crate::limits::{CGROUP_RETRY_FIRST, CGROUP_RETRY_LONGEST, CGROUPS_LEFT_MAX, CGROUPS_REMOVED_AT_ONCE};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct LeftCgroups(Mutex<Left>);

#[derive(Debug, Default)]
struct Left {
    names: VecDeque<String>,
    /// There is a task that tries again.
    is_watched: bool,
}

impl LeftCgroups {
    /// Removes what an earlier exec-server has left in this directory. What has processes is left.
    pub(super) fn of_earlier(directory: &Path) -> Self {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let ours = names.filter(|name| is_own_name(name) && directory.join(name).is_dir());
        let names = ours
            .filter(|name| !remove(&directory.join(name)))
            .take(CGROUPS_LEFT_MAX)
            .collect();
        Self(Mutex::new(Left {
            names,
            is_watched: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers one. Where there are too many, the next exec-server removes it.
    pub(super) fn add(&self, name: String) {
        let mut left = self.lock();
        if left.names.len() < CGROUPS_LEFT_MAX {
            left.names.push_back(name);
        }
    }

    /// Tries again from now on, if there are any.
    pub(super) fn watch(shared: &Arc<Shared>) {
        let Some(runtime) = &shared.runtime else {
            return;
        };
        {
            let mut left = shared.left.lock();
            if left.is_watched || left.names.is_empty() {
                return;
            }
            left.is_watched = true;
        }
        let weak = Arc::downgrade(shared);
        runtime.spawn(async move {
            let mut pause = CGROUP_RETRY_FIRST;
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(CGROUP_RETRY_LONGEST);
                let is_watched = weak
                    .upgrade()
                    .is_some_and(|shared| shared.left.try_again(&shared.path));
                if !is_watched {
                    return;
                }
            }
        });
    }

    /// Tries to remove some, in turns. Returns whether any is left; if not, nobody watches any more.
    fn try_again(&self, directory: &Path) -> bool {
        let mut left = self.lock();
        for _ in 0..left.names.len().min(CGROUPS_REMOVED_AT_ONCE) {
            if let Some(name) = left.names.pop_front()
                && !remove(&directory.join(&name))
            {
                left.names.push_back(name);
            }
        }
        left.is_watched = !left.names.is_empty();
        left.is_watched
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.left.try_again(&self.path);
    }
}
