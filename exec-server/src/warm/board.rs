//! The latest state of each published conversation, and its watchers: no IO and no clock.
//!
//! A watcher has at most one pending message for each conversation. A further change replaces it and is counted as
//! missed, so a watcher that does not read costs bounded memory, and still gets every latest state. The removal of a
//! conversation that a watcher has never received is not pending for it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use baton_channel::key::PublicKey;
use baton_proto::limits::WARM_CONVERSATIONS_MAX;
use baton_proto::warm::WarmState;
use tokio::sync::Notify;

use crate::limits::{BOARD_CONVERSATIONS_MAX, BOARD_KEY_WATCHERS_MAX, BOARD_WATCHERS_MAX};

/// Distinguishes a publication from a later one of the same conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PublicationId(u64);

/// Distinguishes the watchers of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WatcherId(u64);

/// Why the board takes no further conversation or watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BoardFull {
    #[error("this key publishes {WARM_CONVERSATIONS_MAX} conversations, its limit; end another one first")]
    KeyConversations,
    #[error("the exec-server's limit of {BOARD_CONVERSATIONS_MAX} conversations is reached; try again later")]
    Conversations,
    #[error("this key has {BOARD_KEY_WATCHERS_MAX} watchers, its limit; end another one first")]
    KeyWatchers,
    #[error("the exec-server's limit of {BOARD_WATCHERS_MAX} watchers is reached; try again later")]
    Watchers,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Board {
    keys: HashMap<PublicKey, KeyBoard>,
    conversations: usize,
    watchers: usize,
    next_id: u64,
}

/// What one client's key publishes and watches.
#[derive(Debug, Default)]
struct KeyBoard {
    conversations: HashMap<Arc<str>, Published>,
    watchers: HashMap<WatcherId, Watcher>,
}

#[derive(Debug)]
struct Published {
    id: PublicationId,
    state: Arc<WarmState>,
    /// Notified when another publication replaces this one.
    replaced: Arc<Notify>,
}

#[derive(Debug)]
struct Watcher {
    /// The only conversation to watch, if not all.
    wanted: Option<Arc<str>>,
    /// The conversations that it has received and whose removal it has not.
    known: HashSet<Arc<str>>,
    /// What to send next: a conversation with a pending message, or the mark that the present states are complete.
    order: VecDeque<Option<Arc<str>>>,
    pending: HashMap<Arc<str>, Pending>,
    /// Changes that were not sent since the last message.
    missed: u64,
    wake: Arc<Notify>,
}

#[derive(Debug)]
enum Pending {
    State(Arc<WarmState>),
    Removed,
}

impl Board {
    /// Publishes a conversation. An earlier publication of it is replaced.
    pub(super) fn open(
        &mut self,
        key: PublicKey,
        conversation: &Arc<str>,
        state: WarmState,
    ) -> Result<(PublicationId, Arc<Notify>), BoardFull> {
        let own = self.keys.get(&key);
        let is_new = own.is_none_or(|own| !own.conversations.contains_key(conversation));
        if is_new && own.map_or(0, |own| own.conversations.len()) >= WARM_CONVERSATIONS_MAX {
            return Err(BoardFull::KeyConversations);
        }
        if is_new && self.conversations >= BOARD_CONVERSATIONS_MAX {
            return Err(BoardFull::Conversations);
        }
        let id = PublicationId(self.draw_id());
        let replaced = Arc::new(Notify::new());
        let state = Arc::new(state);
        let own = self.keys.entry(key).or_default();
        let published = Published {
            id,
            state: Arc::clone(&state),
            replaced: Arc::clone(&replaced),
        };
        match own.conversations.insert(Arc::clone(conversation), published) {
            Some(before) => before.replaced.notify_one(),
            None => self.conversations += 1,
        }
        own.changed(conversation, &state);
        Ok((id, replaced))
    }

    /// Publishes a further state. `false`: the publication was replaced.
    pub(super) fn update(
        &mut self,
        key: PublicKey,
        conversation: &Arc<str>,
        id: PublicationId,
        state: WarmState,
    ) -> bool {
        let Some(own) = self.keys.get_mut(&key) else {
            return false;
        };
        let published = own.conversations.get_mut(conversation);
        let Some(published) = published.filter(|published| published.id == id) else {
            return false;
        };
        let state = Arc::new(state);
        published.state = Arc::clone(&state);
        own.changed(conversation, &state);
        true
    }

    /// Ends a publication, if it was not replaced.
    pub(super) fn close(&mut self, key: PublicKey, conversation: &Arc<str>, id: PublicationId) {
        let Some(own) = self.keys.get_mut(&key) else {
            return;
        };
        let is_present = own
            .conversations
            .get(conversation)
            .is_some_and(|published| published.id == id);
        if is_present {
            own.conversations.remove(conversation);
            self.conversations -= 1;
            own.removed(conversation);
            self.forget_unused(key);
        }
    }

    /// Adds a watcher, which is notified whenever [`next`](Self::next) may have a message.
    pub(super) fn watch(
        &mut self,
        key: PublicKey,
        wanted: Option<&str>,
    ) -> Result<(WatcherId, Arc<Notify>), BoardFull> {
        if self.keys.get(&key).map_or(0, |own| own.watchers.len()) >= BOARD_KEY_WATCHERS_MAX {
            return Err(BoardFull::KeyWatchers);
        }
        if self.watchers >= BOARD_WATCHERS_MAX {
            return Err(BoardFull::Watchers);
        }
        let id = WatcherId(self.draw_id());
        let own = self.keys.entry(key).or_default();
        let mut watcher = Watcher {
            wanted: wanted.map(Into::into),
            known: HashSet::new(),
            order: VecDeque::new(),
            pending: HashMap::new(),
            missed: 0,
            wake: Arc::new(Notify::new()),
        };
        for (conversation, published) in &own.conversations {
            watcher.changed(conversation, &published.state);
        }
        watcher.order.push_back(None);
        let wake = Arc::clone(&watcher.wake);
        own.watchers.insert(id, watcher);
        self.watchers += 1;
        Ok((id, wake))
    }

    /// Removes a watcher.
    pub(super) fn unwatch(&mut self, key: PublicKey, id: WatcherId) {
        let Some(own) = self.keys.get_mut(&key) else {
            return;
        };
        if own.watchers.remove(&id).is_some() {
            self.watchers -= 1;
            self.forget_unused(key);
        }
    }

    /// The watcher's next message, if any is pending.
    pub(super) fn next(&mut self, key: PublicKey, id: WatcherId) -> Option<WarmState> {
        self.keys.get_mut(&key)?.watchers.get_mut(&id)?.next()
    }

    /// Whether it holds nothing, also no key without a conversation.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.conversations == 0 && self.watchers == 0
    }

    fn forget_unused(&mut self, key: PublicKey) {
        let own = self.keys.get(&key);
        if own.is_some_and(|own| own.conversations.is_empty() && own.watchers.is_empty()) {
            self.keys.remove(&key);
        }
    }

    fn draw_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl KeyBoard {
    fn changed(&mut self, conversation: &Arc<str>, state: &Arc<WarmState>) {
        for watcher in self.watchers.values_mut() {
            watcher.changed(conversation, state);
        }
    }

    fn removed(&mut self, conversation: &Arc<str>) {
        for watcher in self.watchers.values_mut() {
            watcher.removed(conversation);
        }
    }
}

impl Watcher {
    fn wants(&self, conversation: &str) -> bool {
        self.wanted.as_deref().is_none_or(|wanted| wanted == conversation)
    }

    fn changed(&mut self, conversation: &Arc<str>, state: &Arc<WarmState>) {
        if self.wants(conversation) {
            self.put(conversation, Pending::State(Arc::clone(state)));
        }
    }

    fn removed(&mut self, conversation: &Arc<str>) {
        if !self.wants(conversation) {
            return;
        }
        if self.known.contains(conversation) {
            self.put(conversation, Pending::Removed);
        } else if self.pending.remove(conversation).is_some() {
            // Neither the state nor its removal is sent.
            self.missed += 2;
            self.order.retain(|next| next.as_ref() != Some(conversation));
        }
    }

    fn put(&mut self, conversation: &Arc<str>, message: Pending) {
        match self.pending.insert(Arc::clone(conversation), message) {
            Some(_) => self.missed += 1,
            None => self.order.push_back(Some(Arc::clone(conversation))),
        }
        self.wake.notify_one();
    }

    fn next(&mut self) -> Option<WarmState> {
        let missed = self.missed;
        let message = match self.order.pop_front()? {
            None => WarmState::default(),
            Some(conversation) => match self.pending.remove(&conversation)? {
                Pending::State(state) => {
                    self.known.insert(conversation);
                    WarmState::clone(&state)
                }
                Pending::Removed => {
                    self.known.remove(&conversation);
                    WarmState {
                        conversation: conversation.as_ref().into(),
                        removed: true,
                        ..WarmState::default()
                    }
                }
            },
        };
        self.missed = 0;
        Some(WarmState { missed, ..message })
    }
}

#[cfg(test)]
mod tests;
