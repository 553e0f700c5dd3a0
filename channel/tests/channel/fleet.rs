//! Several relays behind a load balancer that chooses one for each stream: an exec-server registers where the balancer
//! sends its clients, and nothing is lost. All tests use virtual time.

use std::sync::Arc;
use std::time::Duration;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::Seed;
use baton_channel::limits::{HERE_FIRST, REGISTRATION_KEPT};
use baton_channel::ticket::Ticket;
use baton_channel::{Channel, ChannelConfig, ConnectError, Notice, Server, ServerConfig};
use baton_relay::{Config, Metrics, RefusalReason, Relay};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::Request;

use crate::support::balancer::Balancer;
use crate::support::in_memory::{ADDRESS, Connections, InMemory};
use crate::support::service::{Caller, Mounted, message};
use crate::support::{eventually, source, within};

/// The longest time for which a new command may wait after a relay is gone.
const NEW_COMMAND: Duration = Duration::from_millis(1_500);

/// The longest time for which an exec-server may be unreachable after the balancer has changed its choice.
const REACHABLE: Duration = Duration::from_secs(12);

/// A relay of the fleet.
struct Member {
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Member {
    fn start() -> (Self, Connections) {
        let (connections, accepted) = mpsc::unbounded_channel();
        let relay = Relay::with_listener(InMemory(accepted), ADDRESS.parse().unwrap(), Config::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let member = Self {
            metrics: relay.metrics(),
            stop,
            task: tokio::spawn(relay.serve(async move { drop(stopped.await) })),
        };
        (member, connections)
    }

    fn registrations(&self) -> u64 {
        self.metrics.snapshot().registrations
    }
}

/// Three relays behind a balancer, which chooses the first one, and an exec-server.
struct Fleet {
    members: Vec<Member>,
    balancer: Arc<Balancer>,
    ticket: Ticket,
    seed: Seed,
    notices: mpsc::UnboundedReceiver<Notice>,
    /// Answers a call of `/test/Wait`.
    go_on: Arc<Notify>,
}

impl Fleet {
    async fn start() -> Self {
        let (members, connections): (Vec<_>, Vec<_>) = (0..3).map(|_| Member::start()).unzip();
        let balancer = Balancer::new(connections);
        let seed = Seed::generate().unwrap();
        let allow = AllowList::only(*seed.client_key().unwrap().public(), "test", Trust::Continue);
        let config = ServerConfig {
            network: Some(balancer.network()),
            ..ServerConfig::default()
        };
        let (notify, notices) = mpsc::unbounded_channel();
        let server = Server::with_config(&format!("http://{ADDRESS}"), &seed, allow, config)
            .unwrap()
            .on_notice(move |notice| drop(notify.send(notice)));
        let ticket = server.ticket();
        let go_on = Arc::new(Notify::new());
        let goes_on = Arc::clone(&go_on);
        let service = Mounted::echo().on("/test/Wait", move |_| {
            let go_on = Arc::clone(&goes_on);
            async move {
                go_on.notified().await;
                Ok(message("answered"))
            }
        });
        tokio::spawn(server.serve(service, std::future::pending()));
        let mut fleet = Self {
            members,
            balancer,
            ticket,
            seed,
            notices,
            go_on,
        };
        fleet.until(|notice| matches!(notice, Notice::Registered)).await;
        fleet
    }

    /// Starts a fleet, and moves the exec-server to the second relay.
    async fn moved() -> Self {
        let mut fleet = Self::start().await;
        fleet.balancer.choose(|_| 1);
        fleet.until(|notice| matches!(notice, Notice::Moved)).await;
        fleet
    }

    /// A client with a session of its own, and this patience for it.
    fn caller(&self, connect_timeout: Duration) -> Caller {
        let config = ChannelConfig {
            network: Some(self.balancer.network()),
            connect_timeout,
            ..ChannelConfig::default()
        };
        let key = self.seed.client_key().unwrap();
        Caller::new(Channel::with_config(self.ticket.clone(), key, config))
    }

    /// Runs a command of a new client, and returns how long it took.
    async fn command(&self) -> Duration {
        let started = Instant::now();
        let echoed = within(self.caller(REACHABLE * 2).echo("x")).await;
        assert_eq!(echoed.unwrap(), "x");
        started.elapsed()
    }

    async fn until(&mut self, wanted: impl Fn(&Notice) -> bool) -> Notice {
        let found = async {
            loop {
                let notice = self.notices.recv().await.expect("the exec-server runs");
                if wanted(&notice) {
                    return notice;
                }
            }
        };
        within(found).await
    }

    /// The notices of the registration since the last call, without those of sessions.
    fn registration_notices(&mut self) -> Vec<Notice> {
        let of_registration =
            |notice: &Notice| matches!(notice, Notice::Registered | Notice::Moved | Notice::Retrying(..));
        std::iter::from_fn(|| self.notices.try_recv().ok())
            .filter(of_registration)
            .collect()
    }

    fn registrations(&self) -> Vec<u64> {
        self.members.iter().map(Member::registrations).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_exec_server_registers_where_the_balancer_sends_its_clients_and_its_sessions_go_on() {
    let mut fleet = Fleet::start().await;
    let early = fleet.caller(REACHABLE);
    let waiting = early.clone();
    let call = tokio::spawn(async move { waiting.unary("/test/Wait", Request::new(Bytes::new())).await });
    assert_eq!(early.echo("x").await.unwrap(), "x");

    fleet.balancer.choose(|_| 1);
    let waited = fleet.command().await;
    assert!(waited <= REACHABLE, "{waited:?}");
    sleep(REGISTRATION_KEPT + Duration::from_secs(1)).await;
    assert_eq!(fleet.registrations(), [0, 1, 0]);
    let notices = fleet.registration_notices();
    assert!(matches!(notices[..], [Notice::Moved]), "{notices:?}");

    // The session over the first relay still takes calls.
    assert!(!call.is_finished());
    assert_eq!(early.echo("y").await.unwrap(), "y");
    fleet.go_on.notify_one();
    let answer = within(call).await.unwrap().unwrap();
    assert_eq!(answer.into_inner(), "answered");

    // Nothing changes while the balancer's choice stays.
    sleep(Duration::from_secs(600)).await;
    assert_eq!(fleet.registrations(), [0, 1, 0]);
    assert!(fleet.registration_notices().is_empty());

    // The first relay takes its exec-server back.
    fleet.balancer.choose(|_| 0);
    let waited = fleet.command().await;
    assert!(waited <= REACHABLE, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn dials_that_wait_at_the_earlier_relay_are_accepted_for_five_seconds() {
    let fleet = Fleet::moved().await;
    assert_eq!(fleet.registrations(), [1, 1, 0]);
    let at_the_first = |method: &str| match method {
        "Dial" | "Accept" => 0,
        _ => 1,
    };
    fleet.balancer.choose(at_the_first);
    let once = fleet.caller(Duration::ZERO);
    assert_eq!(within(once.echo("x")).await.unwrap(), "x");
    sleep(REGISTRATION_KEPT + Duration::from_secs(1)).await;
    let refused = within(fleet.caller(Duration::ZERO).echo("x")).await.unwrap_err();
    let error = source::<ConnectError>(&refused);
    assert!(matches!(error, ConnectError::NotRegistered { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dial_whose_accept_reaches_another_relay_is_declined_and_its_client_dials_again_soon() {
    let mut fleet = Fleet::moved().await;
    let mut dials = 0;
    fleet.balancer.choose(move |method| {
        dials += usize::from(method == "Dial");
        match (method, dials) {
            ("Dial", 1) => 0,
            _ => 1,
        }
    });
    let waited = fleet.command().await;
    assert!(waited <= NEW_COMMAND, "{waited:?}");
    let told = fleet
        .until(|notice| matches!(notice, Notice::AcceptFailed(_)))
        .await;
    let Notice::AcceptFailed(reason) = told else {
        panic!("{told:?}");
    };
    assert!(reason.ends_with("its client is asked to retry"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn new_commands_wait_less_than_1500_ms_after_a_relay_dies_or_stops() {
    let mut fleet = Fleet::start().await;
    // Long enough for the registration to count as stable.
    sleep(Duration::from_secs(60)).await;
    let third = fleet.members.pop().unwrap();
    let second = fleet.members.pop().unwrap();
    let first = fleet.members.pop().unwrap();

    first.task.abort();
    // The balancer notices a second later, and answers 503 meanwhile.
    sleep(Duration::from_secs(1)).await;
    fleet.balancer.choose(|_| 1);
    let waited = fleet.command().await;
    assert!(waited <= NEW_COMMAND, "after its death: {waited:?}");

    sleep(Duration::from_secs(60)).await;
    drop(second.stop);
    fleet.balancer.choose(|_| 2);
    let waited = fleet.command().await;
    assert!(waited <= NEW_COMMAND, "after its stop: {waited:?}");
    assert_eq!(third.registrations(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_still_has_the_registration_keeps_it() {
    let mut fleet = Fleet::start().await;
    let early = fleet.caller(REACHABLE);
    let waiting = early.clone();
    let call = tokio::spawn(async move { waiting.unary("/test/Wait", Request::new(Bytes::new())).await });
    assert_eq!(early.echo("x").await.unwrap(), "x");
    // Its first question is answered by OK.
    sleep(HERE_FIRST * 2).await;
    // The balancer changes its choice back between the question and the registration.
    fleet.balancer.choose(|method| usize::from(method == "Here"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(fleet.registrations(), [1, 0, 0]);
    let notices = fleet.registration_notices();
    assert!(notices.is_empty(), "{notices:?}");
    let metrics = fleet.members[0].metrics.snapshot();
    let attempts = metrics.refused(RefusalReason::Taken);
    assert!((5..=7).contains(&attempts), "{metrics:?}");
    // An attempt that has just been refused does not cause further questions.
    let answered = fleet.members[1].metrics.snapshot().here_not_registered;
    assert_eq!(answered, attempts);
    assert!(fleet.command().await <= NEW_COMMAND);
    fleet.go_on.notify_one();
    assert!(within(call).await.unwrap().is_ok(), "its session goes on");
}

#[tokio::test(start_paused = true)]
async fn an_exec_server_that_goes_back_to_its_earlier_registration_lets_the_balancer_see_that_at_once() {
    let mut fleet = Fleet::moved().await;
    sleep(Duration::from_secs(1)).await;
    let answered = |fleet: &Fleet| fleet.members[0].metrics.snapshot().here_registered;
    let before = answered(&fleet);
    fleet.balancer.choose(|_| 0);
    fleet.members[1].task.abort();
    fleet.until(|notice| matches!(notice, Notice::Registered)).await;
    sleep(HERE_FIRST).await;
    assert_eq!(answered(&fleet), before + 1);
    // It stays, beyond the time for which it was kept.
    sleep(REGISTRATION_KEPT * 2).await;
    assert_eq!(fleet.members[0].registrations(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_exec_server_is_reachable_while_the_relay_that_the_balancer_chooses_is_down() {
    let mut fleet = Fleet::start().await;
    let second = fleet.members.remove(1);
    second.task.abort();
    // A balancer that has not noticed yet answers 503, which says nothing about the registration.
    fleet.balancer.choose(|method| match method {
        "Here" | "Register" => 1,
        _ => 0,
    });
    sleep(Duration::from_secs(60)).await;
    assert!(fleet.registration_notices().is_empty());
    assert!(fleet.command().await <= NEW_COMMAND);
    eventually("one registration", || fleet.members[0].registrations() == 1).await;
}
