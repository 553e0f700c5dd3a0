//! Creates children by clone(2).

use std::os::fd::BorrowedFd;

use crate::execution::Execution;
use crate::image::Image;
use crate::sys::clone::{Cloned, clone};
use crate::sys::inherited::InheritedState;
use crate::sys::stack_pool::StackPool;
use crate::{Child, Spawn, SpawnError};

/// Creates children by clone(2) with shared memory, and does not wait for their exec: [`Execution`] reports a failed
/// exec. The cost does not depend on the memory of this process.
#[derive(Debug)]
pub struct CloneSpawner {
    inherited: InheritedState,
    pub(crate) pool: StackPool,
}

impl CloneSpawner {
    /// Children undo `inherited`.
    pub fn new(inherited: InheritedState) -> Self {
        Self {
            inherited,
            pool: StackPool::default(),
        }
    }
}

impl Spawn for CloneSpawner {
    fn spawn(&self, image: Image, stdio: [BorrowedFd<'_>; 3]) -> Result<Child, SpawnError> {
        let cloned = clone(image, self.inherited, stdio, &self.pool).map_err(SpawnError::NotCreated)?;
        let Cloned {
            pid,
            pidfd,
            memory,
            at,
            at_ns,
        } = cloned;
        Ok(Child {
            pid,
            pidfd: Some(pidfd),
            execution: Execution::of_clone(memory, self.pool.clone(), at, at_ns),
        })
    }
}
