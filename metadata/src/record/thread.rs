//! The metadata of a thread, as patches.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::ThreadKey;

/// A change of one thread. Unless it only deletes, it creates the thread if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadPatch {
    /// Which one.
    pub key: ThreadKey,
    /// When it was made; of merged ones the last.
    pub at_unix_ns: u64,
    /// First forgets all there is of the thread (title, values, facts, archived). Records of its processes stay, for as long as they are
    /// retained: they are history, and hold ids that must not run twice.
    pub delete: bool,
    /// After that, the thread exists. False only for a patch that deletes and nothing else.
    pub exists: bool,
    /// `Some(None)` takes the title away.
    pub title: Option<Option<Box<str>>>,
    /// What to set; `None` takes the key away.
    pub values: BTreeMap<Box<str>, Option<Box<str>>>,
    /// Hides the thread from `threads`, or shows it again.
    pub archived: Option<bool>,
    /// What was found out about its working directory.
    pub facts: Option<Arc<CwdFacts>>,
}

/// What a working directory is part of. Bytes, as the file system has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CwdFacts {
    /// The directory itself, absolute.
    pub cwd: Box<[u8]>,
    /// Root of the repository around it; `None` if it is in none.
    pub repository_root: Option<Box<[u8]>>,
    /// Branch that is checked out; `None` for a detached head.
    pub branch: Option<Box<[u8]>>,
    /// Commit that is checked out, in hex.
    pub head: Option<Box<str>>,
    /// When this was found.
    pub found_unix_ns: u64,
}

impl ThreadPatch {
    /// The thread exists and was used at `at_unix_ns`.
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

    /// The thread shall be forgotten.
    pub fn delete(key: ThreadKey, at_unix_ns: u64) -> Self {
        Self {
            delete: true,
            exists: false,
            ..Self::touch(key, at_unix_ns)
        }
    }

    /// Adds a later change. A deletion forgets what came before it, also here.
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

    /// Memory that it holds, in bytes, itself included.
    pub fn size(&self) -> usize {
        let values: usize = self
            .values
            .iter()
            .map(|(key, value)| value_size(key, value))
            .sum();
        let id = self.key.thread_id.len() + 16;
        mem::size_of::<Self>() + id + title_size(&self.title) + values + self.facts_size()
    }

    /// By how much [`size`](Self::size) grows at most when `later` merges into it.
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

/// A node of the map has room for 11 entries and is at least half full; 64 is what an entry then takes, 32 its allocations.
fn value_size(key: &str, value: &Option<Box<str>>) -> usize {
    64 + 32 + key.len() + value.as_ref().map_or(0, |value| value.len())
}
