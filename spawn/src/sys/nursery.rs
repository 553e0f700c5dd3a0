//! Keeps what children live in until they have left it, and stacks to be used again.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clone::Shared;
use super::stack::Stack;
use crate::limits::IDLE_STACKS;

/// See the [module](self). Clones are one.
#[derive(Clone, Default)]
pub struct Nursery(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    idle: Vec<Stack>,
    /// Given up by everybody but the child.
    inhabited: Vec<Arc<Shared>>,
}

impl Nursery {
    pub(super) fn stack(&self) -> io::Result<Stack> {
        let mut inner = self.lock();
        inner.sweep();
        match inner.idle.pop() {
            Some(stack) => Ok(stack),
            None => Stack::new(),
        }
    }

    /// Takes what a child was given, whether or not the child has left it.
    pub(super) fn take_back(&self, shared: Arc<Shared>) {
        let mut inner = self.lock();
        match shared.is_free() {
            true => inner.put(shared),
            false => inner.inhabited.push(shared),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Keeps the stack of what nobody has any more.
    fn put(&mut self, shared: Arc<Shared>) {
        if self.idle.len() < IDLE_STACKS
            && let Some(shared) = Arc::into_inner(shared)
        {
            self.idle.push(shared.stack);
        }
    }

    fn sweep(&mut self) {
        let left: Vec<_> = self.inhabited.extract_if(.., |shared| shared.is_free()).collect();
        left.into_iter().for_each(|shared| self.put(shared));
    }
}

impl Drop for Inner {
    /// A child that is still on its way keeps its memory, which is lost: it would execute whatever comes to be there.
    fn drop(&mut self) {
        self.sweep();
        self.inhabited.drain(..).for_each(std::mem::forget);
    }
}

impl fmt::Debug for Nursery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("Nursery")
            .field("idle", &inner.idle.len())
            .field("inhabited", &inner.inhabited.len())
            .finish()
    }
}
