//! What outlives a client's sessions, and must end when the client's key is removed from the allow-list, or expires.
//!
//! A session ends by itself when its key is revoked. A process that outlives its session has nobody who would notice,
//! so the exec-server's watch of the allow-list looks after it too.

use std::fmt;
use std::sync::{Arc, Weak};

use baton_noise::key::PublicKey;

use super::sessions::Sessions;
use crate::allow::Revocable;

/// Where things that outlive a session are watched. Clones watch in the same place.
#[derive(Clone)]
pub struct Revocations(Option<Arc<Sessions>>);

impl Revocations {
    /// `None`: the allow-list is no file, so no key is ever revoked.
    pub(super) fn new(sessions: Option<Arc<Sessions>>) -> Self {
        Self(sessions)
    }

    /// Revokes `target` within a second of the removal of this key from the allow-list, or of the time when the key
    /// expires, while the server serves. A target that was dropped is forgotten at the next read of the list
    /// ([`ALLOW_LIST_LOOK`](crate::limits::ALLOW_LIST_LOOK)).
    pub fn watch(&self, key: PublicKey, target: Weak<dyn Revocable>) {
        if let Some(sessions) = &self.0 {
            sessions.watch(key, target);
        }
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("is_watched", &self.0.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::allow::{Grant, Standing};

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    #[derive(Default)]
    struct Process {
        revoked: AtomicU32,
    }

    impl Revocable for Process {
        fn revoke(&self) {
            self.revoked.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn what_outlives_its_session_is_revoked_as_a_session_is() {
        let sessions = Arc::new(Sessions::default());
        let revocations = Revocations::new(Some(Arc::clone(&sessions)));
        let processes: [Arc<Process>; 2] = Default::default();
        for (byte, process) in (1..).zip(&processes) {
            let target: Weak<dyn Revocable> = Arc::<Process>::downgrade(process);
            revocations.watch(key(byte), target);
        }
        // The list is read though there is no session.
        sessions.any().await;
        let only_other = |named: &PublicKey| match *named == key(2) {
            true => Standing::Named(Grant::default()),
            false => Standing::Missing,
        };
        let revoked = || {
            processes
                .each_ref()
                .map(|process| process.revoked.load(Ordering::Relaxed))
        };
        sessions.apply_allow_list(only_other);
        sessions.apply_allow_list(|_| Standing::Unknown);
        sessions.apply_allow_list(only_other);
        assert_eq!(revoked(), [0, 0]);
        sessions.apply_allow_list(only_other);
        sessions.apply_allow_list(only_other);
        assert_eq!(revoked(), [1, 0]);
        // What has ended is forgotten, and the list is not read any more.
        drop(processes);
        sessions.apply_allow_list(only_other);
        assert!(sessions.is_empty());
    }
}
