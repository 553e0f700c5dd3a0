//! The metadata of a thread, as patches.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::ThreadKey;

/// A change of one thread. Unless it only deletes, it creates the thread if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadPatch {
    /// The thread.
    pub key: ThreadKey,
    /// Time of the change; of merged changes the last.
    pub at_unix_ns: u64,
    /// First deletes the thread (title, values, facts, archived). Records of its processes stay for as long as others:
    /// they are history, and hold ids that must not run twice.
    pub delete: bool,
    /// Whether the thread exists after the change. False only for a patch that deletes and nothing else.
    pub exists: bool,
    /// `Some(None)` removes the title.
    pub title: Option<Option<Box<str>>>,
    /// Values to set; `None` removes the key.
    pub values: BTreeMap<Box<str>, Option<Box<str>>>,
    /// Hides the thread from `threads`, or lists it again.
    pub archived: Option<bool>,
    /// Facts of its working directory.
    pub facts: Option<Arc<CwdFacts>>,
}

/// The repository of a working directory. Bytes, as the file system has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CwdFacts {
    /// The directory itself, absolute.
    pub cwd: Box<[u8]>,
    /// Root of the repository; `None` if there is none.
    pub repository_root: Option<Box<[u8]>>,
    /// Branch that is checked out; `None` for a detached head.
    pub branch: Option<Box<[u8]>>,
    /// Commit that is checked out, in hexadecimal.
    pub head: Option<Box<str>>,
    /// When the facts were found.
    pub found_unix_ns: u64,
}

impl ThreadPatch {
    /// A patch that marks the thread as used at `at_unix_ns`.
    pub fn touch(key: ThreadKey, at_unix_ns: u64) -> Self {
        Self {
            key,
            at_unix_ns,
            delete: false,
            exists: true,
            title: None,
            values: BTreeMap::new(),
            archived: None,
            facts: None,
        }
    }

    /// A patch that deletes the thread.
    pub fn delete(key: ThreadKey, at_unix_ns: u64) -> Self {
        Self {
            delete: true,
            exists: false,
            ..Self::touch(key, at_unix_ns)
        }
    }

    /// Merges a later change. A deletion removes earlier changes here too.
    pub fn merge(&mut self, later: Self) {
        debug_assert_eq!(self.key, later.key);
        if later.delete {
            *self = later;
            return;
        }
        self.at_unix_ns = self.at_unix_ns.max(later.at_unix_ns);
        self.exists |= later.exists;
        if later.title.is_some() {
            self.title = later.title;
        }
        self.values.extend(later.values);
        if later.archived.is_some() {
            self.archived = later.archived;
        }
        if later.facts.is_some() {
            self.facts = later.facts;
        }
    }

    /// Size in memory, in bytes, its allocations included.
    pub fn size(&self) -> usize {
        let values: usize = self
            .values
            .iter()
            .map(|(key, value)| value_size(key, value))
            .sum();
        let id = self.key.thread_id.len() + 16;
        mem::size_of::<Self>() + id + title_size(&self.title) + values + self.facts_size()
    }

    /// The most by which [`size`](Self::size) grows when `later` merges into it.
    pub(crate) fn growth(&self, later: &Self) -> usize {
        if later.delete {
            return later.size().saturating_sub(self.size());
        }
        let mut grows = title_size(&later.title).saturating_sub(title_size(&self.title));
        for (key, value) in &later.values {
            let before = self.values.get(key).map_or(0, |before| value_size(key, before));
            grows += value_size(key, value).saturating_sub(before);
        }
        grows + later.facts_size().saturating_sub(self.facts_size())
    }

    fn facts_size(&self) -> usize {
        self.facts.as_ref().map_or(0, |facts| {
            let bytes = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len() + 16);
            mem::size_of::<CwdFacts>()
                + facts.cwd.len()
                + bytes(&facts.repository_root)
                + bytes(&facts.branch)
                + facts.head.as_ref().map_or(0, |head| head.len() + 16)
        })
    }
}

fn title_size(title: &Option<Option<Box<str>>>) -> usize {
    title.iter().flatten().map(|title| title.len() + 16).sum()
}

/// A node of the map has room for 11 entries and is at least half full: 64 bytes an entry, and 32 for its allocations.
fn value_size(key: &str, value: &Option<Box<str>>) -> usize {
    64 + 32 + key.len() + value.as_ref().map_or(0, |value| value.len())
}
