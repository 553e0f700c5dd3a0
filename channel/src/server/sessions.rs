//! The sessions being served, so that a shutdown reaches them, and so does an edit of the allow-list.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use baton_proto::channel::go_away;
use tokio::sync::Notify;

use crate::key::PublicKey;
use crate::limits;
use crate::service::SessionError;
use crate::service::shared::Shared;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Sessions {
    all: Mutex<Vec<Served>>,
    added: Notify,
}

struct Served {
    session: Weak<Shared>,
    client: PublicKey,
    /// The last look at the allow-list did not find its client.
    is_missing: bool,
}

impl Sessions {
    pub(super) fn add(&self, session: &Arc<Shared>, client: PublicKey) {
        let mut all = self.lock();
        all.retain(|served| served.session.strong_count() > 0);
        all.push(Served {
            session: Arc::downgrade(session),
            client,
            is_missing: false,
        });
        self.added.notify_one();
    }

    /// Waits until there is one. One waiter.
    pub(super) async fn any(&self) {
        while self.lock().is_empty() {
            self.added.notified().await;
        }
    }

    /// Ends the sessions of clients that are not `named`, and were not the last time either: an editor may have been
    /// caught between two writes.
    pub(super) fn keep(&self, named: impl Fn(&PublicKey) -> bool) {
        let mut all = self.lock();
        all.retain_mut(|served| {
            let Some(session) = served.session.upgrade() else {
                return false;
            };
            let was_missing = std::mem::replace(&mut served.is_missing, !named(&served.client));
            if was_missing && served.is_missing {
                session.revoke();
                return false;
            }
            true
        });
    }

    /// Says goodbye on every session, and gives them [`limits::CLOSE_TIMEOUT`] to be heard.
    pub(super) async fn close(&self) {
        let sessions = std::mem::take(&mut *self.lock());
        let deadline = tokio::time::Instant::now() + limits::CLOSE_TIMEOUT;
        for served in &sessions {
            if let Some(session) = served.session.upgrade() {
                session.go_away(
                    go_away::Reason::Shutdown,
                    "",
                    SessionError::GoAway(go_away::Reason::Shutdown),
                );
            }
        }
        while sessions.iter().any(|served| served.session.strong_count() > 0)
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Served>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use baton_trace::recorder::Recorder;

    use super::*;

    #[test]
    fn a_client_found_missing_twice_in_a_row_is_cut_and_nobody_else() {
        let sessions = Sessions::default();
        let key = |byte| PublicKey::from_bytes([byte; 32]);
        let (one, other) = (Shared::new(Recorder::off()), Shared::new(Recorder::off()));
        sessions.add(&one, key(1));
        sessions.add(&other, key(2));
        let only_other = |named: &PublicKey| *named == key(2);
        sessions.keep(only_other);
        sessions.keep(|_| true);
        sessions.keep(only_other);
        assert_eq!(one.ended(), None);
        sessions.keep(only_other);
        assert_eq!(one.ended(), Some(SessionError::Revoked));
        assert_eq!(other.ended(), None);
    }
}
