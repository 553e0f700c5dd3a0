//! The sessions that the server serves. A shutdown ends them; an edit of the allow-list ends them or changes their
//! trust and options, and so does the time that an option names. Both also end what outlives a session
//! ([`Revocations`](super::revocations::Revocations)).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use baton_noise::key::PublicKey;
use baton_proto::channel::go_away;
use tokio::sync::Notify;

use crate::allow::{Peer, Revocable, Standing};
use crate::limits;
use crate::service::SessionError;
use crate::service::session_state::SessionState;

/// All served sessions.
#[derive(Default)]
pub(super) struct Sessions {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Default)]
struct State {
    served: Vec<Served>,
    outliving: Vec<Outliving>,
    /// The server has shut down: new sessions are ended at once.
    is_closed: bool,
}

struct Served {
    session: Weak<SessionState>,
    client: Arc<Peer>,
    /// The client's entry at the last read of the allow-list.
    standing: Standing,
}

/// Something of a client that outlives the client's sessions.
struct Outliving {
    target: Weak<dyn Revocable>,
    key: PublicKey,
    /// As in [`Served`].
    standing: Standing,
}

impl Sessions {
    /// Revokes `target` when this key is removed from the allow-list.
    pub(super) fn watch(&self, key: PublicKey, target: Weak<dyn Revocable>) {
        self.lock().outliving.push(Outliving {
            target,
            key,
            standing: Standing::Unknown,
        });
        self.added.notify_one();
    }

    pub(super) fn add(&self, session: &Arc<SessionState>, client: Arc<Peer>) {
        let mut state = self.lock();
        if state.is_closed {
            // Its handshake completed after the shutdown of the others.
            return send_shutdown(session);
        }
        state.served.retain(|served| served.session.strong_count() > 0);
        state.served.push(Served {
            session: Arc::downgrade(session),
            client,
            standing: Standing::Unknown,
        });
        self.added.notify_one();
    }

    /// Waits until at least one session is served, or something is watched. Only one task may wait.
    pub(super) async fn any(&self) {
        while self.is_empty() {
            self.added.notified().await;
        }
    }

    /// Whether nothing depends on the allow-list.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.served.is_empty() && state.outliving.is_empty()
    }

    /// Ends the sessions of clients that are missing from the allow-list or have expired, and what outlives them, and
    /// sets trust and options of the others. A change counts only when two reads in a row show it: an editor may write
    /// the file in two steps.
    pub(super) fn apply_allow_list(&self, standing: impl Fn(&PublicKey) -> Standing) {
        let mut state = self.lock();
        state.served.retain_mut(|served| {
            let Some(session) = served.session.upgrade() else {
                return false;
            };
            let now = standing(&served.client.key);
            if now != served.standing {
                served.standing = now;
                return true;
            }
            let reason = match now {
                Standing::Missing => SessionError::Revoked,
                Standing::Expired => SessionError::Expired,
                Standing::Named(grant) => {
                    served.client.set_grant(grant);
                    return true;
                }
                Standing::Unknown => return true,
            };
            session.revoke(reason);
            false
        });
        state.outliving.retain_mut(|outliving| {
            let Some(target) = outliving.target.upgrade() else {
                return false;
            };
            let now = standing(&outliving.key);
            let is_the_second = now == outliving.standing;
            let is_revoked = is_the_second && matches!(now, Standing::Missing | Standing::Expired);
            outliving.standing = now;
            if is_revoked {
                target.revoke();
            }
            !is_revoked
        });
    }

    /// Drains every session and refuses new ones. Open calls have `drain_timeout` to finish, during which an edit of the
    /// allow-list still ends sessions. Then the remaining calls are cut, and the sessions have
    /// [`limits::CLOSE_TIMEOUT`] to send queued frames.
    pub(super) async fn close(&self, drain_timeout: Duration) {
        let sessions: Vec<_> = {
            let mut state = self.lock();
            state.is_closed = true;
            let served = state.served.iter();
            served.map(|served| Weak::clone(&served.session)).collect()
        };
        let open = || sessions.iter().filter_map(Weak::upgrade);
        open().for_each(|session| session.drain());
        until(drain_timeout, || open().all(|session| session.ended().is_some())).await;
        open().for_each(|session| send_shutdown(&session));
        until(limits::CLOSE_TIMEOUT, || open().next().is_none()).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a session and its calls after queued frames are sent. A session that has already ended does not change.
fn send_shutdown(session: &SessionState) {
    session.go_away(go_away::Reason::Shutdown, "", SessionError::Closed);
}

/// Polls `is_done` every 5 ms until it returns true or `limit` expires.
async fn until(limit: Duration, is_done: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + limit;
    while !is_done() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use baton_trace::recorder::Recorder;

    use super::*;
    use crate::allow::{AllowList, Grant, Trust};

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    fn client(byte: u8) -> Arc<Peer> {
        let list = AllowList::only(key(byte), "test", Trust::Continue);
        Arc::new(list.find(&key(byte)).unwrap().unwrap())
    }

    #[test]
    fn only_a_client_missing_in_two_reads_in_a_row_is_cut() {
        let sessions = Sessions::default();
        let (one, other) = (
            SessionState::new(Recorder::off()),
            SessionState::new(Recorder::off()),
        );
        sessions.add(&one, client(1));
        sessions.add(&other, client(2));
        let only_other = |named: &PublicKey| match *named == key(2) {
            true => Standing::Named(Grant::default()),
            false => Standing::Missing,
        };
        sessions.apply_allow_list(only_other);
        sessions.apply_allow_list(|_| Standing::Unknown);
        sessions.apply_allow_list(only_other);
        assert_eq!(one.ended(), None);
        sessions.apply_allow_list(only_other);
        assert_eq!(one.ended(), Some(SessionError::Revoked));
        assert_eq!(other.ended(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_closed_by_a_shutdown_report_closed() {
        let sessions = Sessions::default();
        let (before, after) = (
            SessionState::new(Recorder::off()),
            SessionState::new(Recorder::off()),
        );
        sessions.add(&before, client(1));
        sessions.close(limits::DRAIN_TIMEOUT).await;
        sessions.add(&after, client(2));
        for session in [before, after] {
            assert_eq!(session.ended(), Some(SessionError::Closed));
        }
    }

    #[test]
    fn a_changed_trust_applies_after_two_reads_in_a_row() {
        let sessions = Sessions::default();
        let (session, client) = (SessionState::new(Recorder::off()), client(1));
        sessions.add(&session, Arc::clone(&client));
        let apply_allow_list = |trust| {
            let grant = Grant {
                trust,
                ..Grant::default()
            };
            sessions.apply_allow_list(|_| Standing::Named(grant.clone()));
            client.trust()
        };
        // An editor that has written only a part of the line: without its last field, clamp applies.
        assert_eq!(apply_allow_list(Trust::Restart), Trust::Continue);
        assert_eq!(apply_allow_list(Trust::Clamp), Trust::Continue);
        assert_eq!(apply_allow_list(Trust::Restart), Trust::Continue);
        assert_eq!(apply_allow_list(Trust::Restart), Trust::Restart);
        assert_eq!(session.ended(), None);
    }
}
