//! Which stream sends next: deficit round robin in which a stream with a small backlog goes first.
//!
//! The two lists of FQ-CoDel (RFC 8290 section 4.2): a stream that becomes active joins `fresh` and may send one
//! quantum before all other streams. When it has used the quantum, or has nothing more to send, it joins `old` and
//! takes turns there. There are two differences:
//!
//! * `fresh` yields to `old` after [`limits::FRESH_BURST`] bytes in a row, so that an endless supply of short calls
//!   cannot starve a bulk stream.
//! * A stream that ran out of data before it had used its quantum joins `fresh` again with the rest of it when it has
//!   data. So a small command whose output comes in pieces does not wait behind bulk for each piece, and sends no more
//!   than its quantum.

use std::collections::{HashMap, VecDeque};

use crate::frame::StreamId;
use crate::limits;

#[derive(Default)]
pub(crate) struct Schedule {
    fresh: VecDeque<StreamId>,
    old: VecDeque<StreamId>,
    flows: HashMap<StreamId, Flow>,
    /// Bytes that streams in `fresh` have sent since the last turn of `old`.
    fresh_bytes: usize,
}

struct Flow {
    deficit: i64,
    fresh: bool,
    /// In `old`, with nothing to send.
    is_parked: bool,
}

impl Schedule {
    /// Whether no stream has something to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Adds a stream that has data to send.
    pub(crate) fn activate(&mut self, id: StreamId) {
        let flow = self.flows.entry(id).or_insert_with(|| {
            self.fresh.push_back(id);
            Flow {
                deficit: limits::QUANTUM as i64,
                fresh: true,
                is_parked: false,
            }
        });
        if std::mem::take(&mut flow.is_parked) && flow.deficit > 0 {
            flow.fresh = true;
            retain_not(&mut self.old, id);
            self.fresh.push_back(id);
        }
    }

    /// The stream whose turn it is. It stays the same until [`sent`](Self::sent), [`emptied`](Self::emptied) or
    /// [`remove`](Self::remove) is called for it.
    pub(crate) fn next(&mut self) -> Option<StreamId> {
        loop {
            let list = if self.fresh.is_empty() || self.old_is_due() {
                &mut self.old
            } else {
                &mut self.fresh
            };
            let id = *list.front()?;
            let Some(flow) = self.flows.get_mut(&id) else {
                list.pop_front();
                continue;
            };
            if flow.deficit > 0 {
                return Some(id);
            }
            list.pop_front();
            flow.deficit += limits::QUANTUM as i64;
            flow.fresh = false;
            self.old.push_back(id);
        }
    }

    /// The next stream with a small backlog. Streams in `old` keep their order. `None` when it is the turn of `old`.
    pub(crate) fn next_fresh(&mut self) -> Option<StreamId> {
        if self.old_is_due() {
            return None;
        }
        while let Some(id) = self.fresh.front().copied() {
            match self.flows.get_mut(&id) {
                Some(flow) if flow.deficit > 0 => return Some(id),
                Some(flow) => {
                    flow.deficit += limits::QUANTUM as i64;
                    flow.fresh = false;
                    self.old.push_back(id);
                }
                None => {}
            }
            self.fresh.pop_front();
        }
        None
    }

    /// Whether [`next_fresh`](Self::next_fresh) may return a stream.
    pub(crate) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty() && !self.old_is_due()
    }

    fn old_is_due(&self) -> bool {
        self.fresh_bytes >= limits::FRESH_BURST && !self.old.is_empty()
    }

    /// Charges bytes that the current stream has sent.
    pub(crate) fn sent(&mut self, id: StreamId, bytes: usize) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.deficit -= bytes as i64;
            if flow.fresh {
                self.fresh_bytes += bytes;
            } else {
                self.fresh_bytes = 0;
            }
        }
    }

    /// The current stream has nothing more to send. From `fresh` it moves to the end of `old`, so that it does not get
    /// a new quantum before the other streams at once. From `old` it is removed.
    pub(crate) fn emptied(&mut self, id: StreamId) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if flow.fresh && !self.old.is_empty() {
            flow.fresh = false;
            flow.is_parked = true;
            retain_not(&mut self.fresh, id);
            self.old.push_back(id);
        } else {
            self.remove(id);
        }
    }

    /// Removes the stream.
    pub(crate) fn remove(&mut self, id: StreamId) {
        if let Some(flow) = self.flows.remove(&id) {
            retain_not(
                if flow.fresh {
                    &mut self.fresh
                } else {
                    &mut self.old
                },
                id,
            );
        }
    }
}

fn retain_not(list: &mut VecDeque<StreamId>, id: StreamId) {
    if list.front() == Some(&id) {
        list.pop_front();
    } else {
        list.retain(|other| *other != id);
    }
}
