//! The sessions of a client that is removed from the allow-list end at the next rekey, and within a second. An invalid
//! line excludes its own client; an unusable list excludes all clients.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use baton_channel::allow::AllowList;
use baton_channel::key::StaticKey;
use baton_channel::limits::ALLOW_LIST_LOOK;
use baton_channel::{Channel, Notice, SessionError};
use baton_noise::{KeyLimit, RekeyPolicy};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tonic::{Code, Request, Status};

use crate::support::service::{Caller, Mounted};
use crate::support::{Gone, RunningRelay, RunningServer, guard, renewing, source, within};

/// The bound that the design promises.
const SOON: Duration = Duration::from_secs(1);

/// A server whose allow-list is a file, and the clients on it.
struct AllowListTest {
    list: PathBuf,
    server: RunningServer,
    /// Handlers of `/test/Hang` that have begun.
    handlers: mpsc::UnboundedReceiver<Gone>,
    policy: RekeyPolicy,
    _relay: RunningRelay,
    _dir: TempDir,
}

/// A client and its line on the list.
struct Listed {
    caller: Caller,
    line: String,
}

impl AllowListTest {
    async fn start(policy: RekeyPolicy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("allowed");
        let relay = RunningRelay::start().await;
        let (started, handlers) = mpsc::unbounded_channel();
        let service = Mounted::echo().on("/test/Hang", move |_| {
            let (guard, gone) = guard();
            started.send(gone).unwrap();
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        });
        let allow = AllowList::file(&list).unwrap();
        let server = RunningServer::with_rekey(&relay.url(), allow, service, policy).await;
        Self {
            list,
            server,
            handlers,
            policy,
            _relay: relay,
            _dir: dir,
        }
    }

    fn client(&self, name: &str) -> Listed {
        let key = StaticKey::generate().unwrap();
        let line = format!("{} {name}\n", key.public());
        let channel = Channel::with_config(self.server.ticket.clone(), key, renewing(self.policy));
        Listed {
            caller: Caller::new(channel),
            line,
        }
    }

    fn write(&self, lines: &[&str]) {
        std::fs::write(&self.list, lines.concat()).unwrap();
    }

    /// Starts a call of this client that never ends, and waits until its handler runs.
    async fn hang(&mut self, client: &Listed) -> (tokio::task::JoinHandle<Status>, Gone) {
        let caller = client.caller.clone();
        let call = tokio::spawn(async move {
            let request = Request::new(Bytes::new());
            caller.unary("/test/Hang", request).await.unwrap_err()
        });
        (call, within(self.handlers.recv()).await.unwrap())
    }

    async fn ended(&mut self) -> (String, SessionError) {
        let ended = |notice: &Notice| matches!(notice, Notice::SessionEnded(..));
        match self.server.until(ended).await {
            Notice::SessionEnded(name, error, _) => (name, error),
            _ => unreachable!(),
        }
    }
}

fn assert_not_allowed(status: &Status) {
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(source::<SessionError>(status), &SessionError::NotAllowed);
}

#[tokio::test]
async fn a_removed_line_ends_only_its_own_sessions_and_calls_within_a_second() {
    let mut test = AllowListTest::start(RekeyPolicy::default()).await;
    let (one, other) = (test.client("one"), test.client("other"));
    test.write(&[&one.line, &other.line]);
    let (call, handler) = test.hang(&one).await;
    let (mut spared, mut spared_handler) = test.hang(&other).await;

    test.write(&[&other.line]);
    let removed = Instant::now();
    let status = within(call).await.unwrap();
    assert!(removed.elapsed() < SOON, "{:?}", removed.elapsed());
    assert_not_allowed(&status);
    handler.wait().await;
    assert!(removed.elapsed() < SOON, "{:?}", removed.elapsed());
    assert_eq!(test.ended().await, ("one".into(), SessionError::Revoked));
    assert_not_allowed(&within(one.caller.echo("x")).await.unwrap_err());

    tokio::time::sleep(3 * ALLOW_LIST_LOOK).await;
    assert!(!spared_handler.is_gone() && !spared.is_finished());
    // Deleting the list removes all clients.
    std::fs::remove_file(&test.list).unwrap();
    assert_not_allowed(&within(&mut spared).await.unwrap());
    assert_eq!(test.ended().await, ("other".into(), SessionError::Revoked));
}

#[tokio::test]
async fn a_removed_client_is_cut_at_the_next_rekey() {
    let policy = RekeyPolicy {
        after: KeyLimit {
            messages: 4,
            bytes: u64::MAX,
        },
        pace: Duration::ZERO,
        ..RekeyPolicy::default()
    };
    let mut soonest = Duration::MAX;
    // The periodic check of the list ends the session as well. An end that is faster than its interval was a rekey.
    for _ in 0..10 {
        let mut test = AllowListTest::start(policy).await;
        let client = test.client("one");
        test.write(&[&client.line]);
        let (call, handler) = test.hang(&client).await;
        test.write(&[]);
        let removed = Instant::now();
        let status = within(async {
            loop {
                if let Err(status) = client.caller.echo("x").await {
                    break status;
                }
            }
        })
        .await;
        soonest = soonest.min(removed.elapsed());
        assert_not_allowed(&status);
        assert_not_allowed(&within(call).await.unwrap());
        handler.wait().await;
        assert_eq!(test.ended().await, ("one".into(), SessionError::Revoked));
        if soonest < ALLOW_LIST_LOOK {
            return;
        }
    }
    panic!("no rekey cut it: {soonest:?} at best");
}

#[tokio::test]
async fn a_bad_line_keeps_its_own_client_out_and_nobody_else_and_the_owner_is_told() {
    let mut test = AllowListTest::start(RekeyPolicy::default()).await;
    let (one, other, late) = (test.client("one"), test.client("other"), test.client("late"));
    test.write(&[&one.line, &other.line]);
    let (call, mut handler) = test.hang(&one).await;
    let (removed_call, _) = test.hang(&other).await;

    let broken = |words: &'static str| {
        move |notice: &Notice| {
            let Notice::AllowListUnusable(problem) = notice else {
                return false;
            };
            problem.is_of_one_line() && problem.to_string().contains(words)
        }
    };
    let bad_line = other.line.replace("other", "other always");
    test.write(&[&one.line, "nonsense\n", &bad_line, &late.line]);
    // The owner is notified although no client dials.
    test.server.until(broken("allowed:2: not a public key")).await;
    test.server.until(broken("allowed:3: unknown trust")).await;
    // Its line is invalid, so it is no longer on the list.
    assert_not_allowed(&within(removed_call).await.unwrap());
    assert_eq!(test.ended().await, ("other".into(), SessionError::Revoked));
    for _ in 0..2 {
        let refused = within(other.caller.echo("x")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert_eq!(source::<SessionError>(&refused), &SessionError::AllowListUnusable);
        test.server.until(broken("allowed:3: unknown trust")).await;
    }
    assert_eq!(within(one.caller.echo("mine")).await.unwrap(), "mine");
    assert_eq!(within(late.caller.echo("in")).await.unwrap(), "in");
    assert!(!handler.is_gone() && !call.is_finished());

    // A line that is removed while another is invalid still revokes its client.
    test.write(&["nonsense\n", &late.line]);
    assert_not_allowed(&within(call).await.unwrap());
    // The invalid line may be that of a client without a line.
    assert_not_allowed(&within(other.caller.echo("x")).await.unwrap_err());
    test.server.until(broken("allowed:1: not a public key")).await;
}

#[tokio::test]
async fn a_list_that_others_can_change_lets_nobody_in_and_ends_sessions_at_their_next_rekey() {
    let policy = RekeyPolicy {
        after: KeyLimit {
            messages: 40,
            bytes: u64::MAX,
        },
        pace: Duration::ZERO,
        ..RekeyPolicy::default()
    };
    let mut test = AllowListTest::start(policy).await;
    let (one, late) = (test.client("one"), test.client("late"));
    test.write(&[&one.line, &late.line]);
    assert_eq!(within(one.caller.echo("in")).await.unwrap(), "in");
    std::fs::set_permissions(&test.list, std::fs::Permissions::from_mode(0o666)).unwrap();
    let exposed = |notice: &Notice| {
        let Notice::AllowListUnusable(problem) = notice else {
            return false;
        };
        !problem.is_of_one_line() && problem.to_string().contains("`chmod go-w ")
    };
    test.server.until(exposed).await;
    let refused = within(late.caller.echo("x")).await.unwrap_err();
    assert_eq!(source::<SessionError>(&refused), &SessionError::AllowListUnusable);
    let mut answered = 0;
    let ended = within(async {
        loop {
            match one.caller.echo("x").await {
                Ok(_) => answered += 1,
                Err(status) => break status,
            }
        }
    })
    .await;
    assert_eq!(source::<SessionError>(&ended), &SessionError::AllowListUnusable);
    assert!(
        (1..80).contains(&answered),
        "not at the next rekey: {answered} calls"
    );
    assert_eq!(
        test.ended().await,
        ("one".into(), SessionError::AllowListUnusable)
    );
    std::fs::set_permissions(&test.list, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(within(late.caller.echo("in")).await.unwrap(), "in");
}
