//! Applies the allow-list file to open sessions: its edits, and the time that passes the `expires` of its lines.

use std::time::SystemTime;

use super::sessions::Sessions;
use crate::allow::{AllowError, Watch};
use crate::limits::ALLOW_LIST_LOOK;

/// Reads the file every [`ALLOW_LIST_LOOK`] while something depends on it. Never returns. `now` is the wall clock: a
/// line states its time by the calendar, and a clock that is set applies at the next read.
pub(super) async fn apply_allow_list(
    mut watch: Watch,
    sessions: &Sessions,
    now: impl Fn() -> SystemTime,
    report: impl Fn(AllowError),
) {
    loop {
        sessions.any().await;
        tokio::time::sleep(ALLOW_LIST_LOOK).await;
        watch.reread().into_iter().for_each(&report);
        let now = now();
        sessions.apply_allow_list(|key| watch.standing(key, now));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Weak};
    use std::time::{Duration, UNIX_EPOCH};

    use baton_noise::key::PublicKey;
    use baton_trace::recorder::Recorder;

    use super::*;
    use crate::allow::{AllowList, Lookup, Peer, Revocable};
    use crate::service::SessionError;
    use crate::service::session_state::SessionState;

    /// The wall clock at the start of a test.
    const START: SystemTime = UNIX_EPOCH;

    /// The time from [`START`] to that of [`OPTION`].
    const EXPIRES: Duration = Duration::from_secs(60);

    const OPTION: &str = "expires=\"19700101000100Z\"";

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    #[derive(Default)]
    struct Process(tokio::sync::Notify);

    impl Revocable for Process {
        fn revoke(&self) {
            self.0.notify_one();
        }
    }

    /// Sessions whose allow-list is a file, in virtual time.
    struct Served {
        sessions: Arc<Sessions>,
        list: AllowList,
        begun: tokio::time::Instant,
        _watching: tokio::task::JoinSet<()>,
    }

    impl Served {
        fn start(path: &Path) -> Self {
            let (sessions, list) = (Arc::<Sessions>::default(), AllowList::file(path).unwrap());
            let begun = tokio::time::Instant::now();
            let mut watching = tokio::task::JoinSet::new();
            let (watch, watched) = (list.watch().unwrap(), Arc::clone(&sessions));
            watching.spawn(async move {
                apply_allow_list(watch, &watched, || START + begun.elapsed(), drop).await;
            });
            Self {
                sessions,
                list,
                begun,
                _watching: watching,
            }
        }

        fn session(&self, byte: u8) -> (Arc<SessionState>, Arc<Peer>) {
            let session = SessionState::new(Recorder::off());
            let Ok(Lookup::Allowed(peer)) = self.list.look_up(&key(byte), START + self.begun.elapsed())
            else {
                panic!("it is not allowed");
            };
            let peer = Arc::new(peer);
            self.sessions.add(&session, Arc::clone(&peer));
            (session, peer)
        }

        async fn at(&self, time: Duration) {
            tokio::time::sleep_until(self.begun + time).await;
        }
    }

    /// The file does not change. Only time passes.
    #[tokio::test(start_paused = true)]
    async fn a_session_and_a_process_end_within_a_second_of_the_time_at_which_their_key_expires() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        std::fs::write(&path, format!("{OPTION} {} one\n{} two\n", key(1), key(2))).unwrap();
        let served = Served::start(&path);
        let ((one, _), (two, _)) = (served.session(1), served.session(2));
        let process = Arc::new(Process::default());
        let target: Weak<dyn Revocable> = Arc::<Process>::downgrade(&process);
        served.sessions.watch(key(1), target);

        served.at(EXPIRES - Duration::from_millis(1)).await;
        assert_eq!(one.ended(), None);
        let revoked = process.0.notified();
        assert!(tokio::time::timeout(Duration::ZERO, revoked).await.is_err());
        process.0.notified().await;
        assert!(served.begun.elapsed() >= EXPIRES);
        assert!(served.begun.elapsed() < EXPIRES + Duration::from_secs(1));
        served.at(EXPIRES + Duration::from_secs(1)).await;
        assert_eq!(one.ended(), Some(SessionError::Expired));
        assert_eq!(two.ended(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn options_that_a_line_gains_and_loses_apply_to_an_open_session_within_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        let write = |options: &str| std::fs::write(&path, format!("{options}{} one\n", key(1))).unwrap();
        write("");
        let served = Served::start(&path);
        let (session, peer) = served.session(1);
        let command = |peer: &Peer| peer.options().command().map(str::to_owned);
        let mut at = Duration::ZERO;
        for (options, expected) in [
            ("command=\"true\" ", Some("true")),
            ("command=\"false\" ", Some("false")),
            ("", None),
        ] {
            write(options);
            at += Duration::from_secs(1);
            served.at(at).await;
            assert_eq!(command(&peer).as_deref(), expected);
        }
        assert_eq!(session.ended(), None);
        // An option that is not understood: the key is not allowed any more.
        write("from=\"host\" ");
        served.at(at + Duration::from_secs(1)).await;
        assert_eq!(session.ended(), Some(SessionError::Revoked));
    }
}
