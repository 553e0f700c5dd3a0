//! A pool of stacks for children, and the memory that children still use.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::memory::ChildMemory;
use super::stack::Stack;
use crate::limits::IDLE_STACKS;

/// Provides stacks, and frees a child's memory once the child has left it. Clones share one pool.
#[derive(Clone, Default)]
pub(crate) struct StackPool(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    idle: Vec<Stack>,
    /// Memory that only its child uses.
    in_use: Vec<Arc<ChildMemory>>,
}

impl StackPool {
    pub(super) fn stack(&self) -> io::Result<Stack> {
        let mut inner = self.lock();
        inner.sweep();
        match inner.idle.pop() {
            Some(stack) => Ok(stack),
            None => Stack::new(),
        }
    }

    /// Takes a child's memory. If the child has not left it, it is freed later.
    pub(crate) fn take_back(&self, memory: Arc<ChildMemory>) {
        let mut inner = self.lock();
        match memory.is_free() {
            true => inner.recycle(memory),
            false => inner.in_use.push(memory),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Recycles the stack of a child that has left its memory.
    fn recycle(&mut self, memory: Arc<ChildMemory>) {
        if self.idle.len() < IDLE_STACKS
            && let Some(memory) = Arc::into_inner(memory)
        {
            self.idle.push(memory.stack);
        }
    }

    fn sweep(&mut self) {
        let left: Vec<_> = self.in_use.extract_if(.., |memory| memory.is_free()).collect();
        left.into_iter().for_each(|memory| self.recycle(memory));
    }
}

impl Drop for Inner {
    /// Leaks the memory of children that have not left it: such a child would otherwise use memory that was freed.
    fn drop(&mut self) {
        self.sweep();
        self.in_use.drain(..).for_each(std::mem::forget);
    }
}

impl fmt::Debug for StackPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("StackPool")
            .field("idle", &inner.idle.len())
            .field("in_use", &inner.in_use.len())
            .finish()
    }
}
