//! Stacks for children, and the memory of children that have not left it yet.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::memory::ChildMemory;
use super::stack::Stack;
use crate::limits::IDLE_STACKS;

/// Lends stacks, and frees a child's memory once the child has left it. Clones share one pool.
#[derive(Clone, Default)]
pub(crate) struct StackPool(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    idle: Vec<Stack>,
    /// Memory that only its child still uses.
    inhabited: Vec<Arc<ChildMemory>>,
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

    /// Takes a child's memory, whether or not the child has left it.
    pub(crate) fn take_back(&self, memory: Arc<ChildMemory>) {
        let mut inner = self.lock();
        match memory.is_free() {
            true => inner.recycle(memory),
            false => inner.inhabited.push(memory),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Keeps the stack of a child that has left its memory.
    fn recycle(&mut self, memory: Arc<ChildMemory>) {
        if self.idle.len() < IDLE_STACKS
            && let Some(memory) = Arc::into_inner(memory)
        {
            self.idle.push(memory.stack);
        }
    }

    fn sweep(&mut self) {
        let left: Vec<_> = self.inhabited.extract_if(.., |memory| memory.is_free()).collect();
        left.into_iter().for_each(|memory| self.recycle(memory));
    }
}

impl Drop for Inner {
    /// Leaks the memory of children that have not left it: such a child would execute whatever replaces it.
    fn drop(&mut self) {
        self.sweep();
        self.inhabited.drain(..).for_each(std::mem::forget);
    }
}

impl fmt::Debug for StackPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("StackPool")
            .field("idle", &inner.idle.len())
            .field("inhabited", &inner.inhabited.len())
            .finish()
    }
}
