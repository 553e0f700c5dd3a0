//! An exec-server and its clients at a hostile relay, and the assertions that hold for every attack.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_channel::allow::{AllowList, Trust};
use baton_channel::{Notice, Server};
use baton_core_client::{ChannelConfig, Client, Command, Event, ExitStatus, RunError, Seed, Ticket};
use baton_exec_server::ExecService;
use baton_mux::limits::IDLE_TIMEOUT;
use baton_trace::record::CallRecord;
use baton_trace::stage::transport::CALL;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::relay::{Dialled, HostileRelay, lock};

/// Deadline for the end of a session: the idle timeout, and a margin for a busy machine.
pub(crate) const IN_TIME: Duration = IDLE_TIMEOUT.saturating_add(Duration::from_secs(15));

/// Attacks that take longer are printed.
const SLOW: Duration = Duration::from_secs(8);

/// Limit on concurrent attacks. A small machine can run this many without missing deadlines.
const AT_ONCE: usize = 13;

/// Awaits a future for at most [`IN_TIME`].
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(IN_TIME, future)
        .await
        .expect("it completes within the deadline")
}

/// Number and size of the pieces that a visit sends through `cat`.
const PIECES: usize = 4;
const PIECE: usize = 8 * 1024;

/// An exec-server, and the file in which its commands leave marks.
pub(crate) struct Testbed {
    pub(crate) relay: HostileRelay,
    pub(crate) ticket: Ticket,
    seed: Seed,
    exec: ExecService,
    notices: Arc<Mutex<Vec<Notice>>>,
    dir: TempDir,
}

/// What the relay does with the session of one visit.
pub(crate) type RelayBehavior = Box<dyn FnOnce(Dialled, HostileRelay) -> BoxFuture<'static, ()> + Send>;

/// An attack on one visit.
pub(crate) struct Attack {
    pub(crate) name: String,
    pub(crate) behavior: RelayBehavior,
    pub(crate) expected: Expected,
}

/// The expected result of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The session ends before the command runs.
    NothingRuns,
    /// The session ends; the command may have run once.
    Cut,
    /// The command runs, and the visit completes.
    Unharmed,
}

/// The result of a visit.
pub(crate) struct Visit {
    stdout: Vec<u8>,
    pub(crate) ended: Result<Option<CallRecord>, RunError>,
}

impl Testbed {
    /// Starts a relay, and an exec-server that has registered with it.
    pub(crate) async fn start() -> Self {
        let relay = HostileRelay::start().await;
        let seed = Seed::generate().unwrap();
        let (exec, notices, ticket) = exec_server(&relay, &seed).await;
        Self {
            relay,
            ticket,
            seed,
            exec,
            notices,
            dir: TempDir::with_prefix("baton-").unwrap(),
        }
    }

    /// Starts a second exec-server at the same relay, which allows the same client, and returns its ticket.
    pub(crate) async fn second_exec_server(&self) -> Ticket {
        exec_server(&self.relay, &self.seed).await.2
    }

    /// The allowed client, with this ticket.
    pub(crate) fn client(&self, ticket: &Ticket) -> Client {
        let config = ChannelConfig {
            // No retry: the first failure must be visible.
            connect_timeout: Duration::ZERO,
            ..ChannelConfig::default()
        };
        Client::with_config(ticket.clone(), self.seed.client_key().unwrap(), config)
    }

    /// A client whose sessions go to the test.
    pub(crate) fn victim(&self) -> (Client, mpsc::UnboundedReceiver<Dialled>) {
        let (ticket, dials) = self.relay.intercept(&self.ticket);
        (self.client(&ticket), dials)
    }

    fn marks(&self) -> PathBuf {
        self.dir.path().join("marks")
    }

    /// How often each command has run.
    pub(crate) fn ran(&self) -> HashMap<String, usize> {
        let mut ran = HashMap::new();
        for line in std::fs::read_to_string(self.marks()).unwrap_or_default().lines() {
            *ran.entry(line.to_owned()).or_default() += 1;
        }
        ran
    }

    /// Runs a traced command that leaves `name` as its mark and echoes its input. Without a grace: the end of its session
    /// is the end of it.
    pub(crate) async fn visit(&self, client: &Client, name: &str) -> Visit {
        let script = "echo \"$1\" >>\"$0\"; exec cat";
        let command = Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(self.marks())
            .arg(name)
            .grace(Duration::ZERO)
            .trace(true);
        let mut stdout = Vec::new();
        let ended = async {
            let (mut run, mut stdin) = client.start(command).await?;
            let (write, read) = (
                async move {
                    for number in 0..PIECES {
                        if stdin.write(piece(number)).await.is_err() {
                            return;
                        }
                        // The pause puts each piece into a message of its own.
                        sleep(Duration::from_millis(1)).await;
                    }
                    let _ = stdin.close().await;
                },
                async {
                    let mut exit = None;
                    while let Some(event) = run.next().await? {
                        match event {
                            Event::Stdout(data) => stdout.extend_from_slice(&data),
                            Event::Exited { status, .. } => exit = Some(status),
                            _ => {}
                        }
                    }
                    assert_eq!(exit, Some(ExitStatus::Code(0)));
                    Ok::<_, RunError>(())
                },
            );
            let ((), read) = tokio::join!(write, read);
            read?;
            Ok(run.record().await)
        };
        let ended = ended.await;
        Visit { stdout, ended }
    }

    /// Runs the attacks, each on a visit of its own, at most [`AT_ONCE`] concurrently, while a bystander keeps
    /// visiting. Asserts that no command ran that was not started, and that none ran twice.
    pub(crate) async fn withstand(self: &Arc<Self>, attacks: Vec<Attack>) {
        assert!(!attacks.is_empty());
        let (before, started, attempts) = (self.ran(), Instant::now(), attacks.len());
        let expected = self.with_bystander(self.run_attacks(attacks)).await;
        let mut ran = self.ran();
        ran.retain(|name, times| before.get(name) != Some(times));
        println!("{attempts} attacks in {:.1} s", started.elapsed().as_secs_f64());
        for (name, expected) in &expected {
            let times = ran.get(name).copied().unwrap_or(0);
            let allowed = match expected {
                Expected::NothingRuns => 0..=0,
                Expected::Cut => 0..=1,
                Expected::Unharmed => 1..=1,
            };
            assert!(allowed.contains(&times), "{name} ran {times} times");
        }
        for (name, times) in ran {
            let is_known = expected.contains_key(&name) || (name.starts_with(BYSTANDER) && times == 1);
            assert!(is_known, "{name} ran {times} times");
        }
    }

    /// Awaits a future while a bystander of the same relay and exec-server keeps visiting, then until no process runs.
    pub(crate) async fn with_bystander<T>(self: &Arc<Self>, attack: impl Future<Output = T>) -> T {
        let (stop, stopped) = oneshot::channel::<()>();
        let bystander = tokio::spawn(bystander(Arc::clone(self), stopped));
        let result = attack.await;
        drop(stop);
        let visits = bystander.await.unwrap();
        println!("visits of the bystander: {visits}");
        self.settle().await;
        result
    }

    async fn run_attacks(self: &Arc<Self>, attacks: Vec<Attack>) -> HashMap<String, Expected> {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut under_way = JoinSet::new();
        let mut expected = HashMap::new();
        for attack in attacks {
            let before = expected.insert(attack.name.clone(), attack.expected);
            assert_eq!(before, None, "{}: two attacks have this name", attack.name);
            let (testbed, turns) = (Arc::clone(self), Arc::clone(&turns));
            under_way.spawn(async move {
                let _turn = turns.acquire_owned().await;
                testbed.run_attack(attack).await;
            });
        }
        while let Some(done) = under_way.join_next().await {
            done.unwrap();
        }
        expected
    }

    async fn run_attack(&self, attack: Attack) {
        let Attack {
            name,
            behavior,
            expected,
        } = attack;
        let (client, mut dials) = self.victim();
        let behavior = async {
            let dialled = dials.recv().await.expect("the client dials");
            // A second dial of the client is refused.
            drop(dials);
            behavior(dialled, self.relay.clone()).await;
        };
        let visit = timeout(IN_TIME, self.visit(&client, &name));
        let started = Instant::now();
        let mut behavior = std::pin::pin!(behavior);
        let mut visit = std::pin::pin!(visit);
        // The relay may keep a session open for ever, so the visit alone decides.
        let visit = tokio::select! {
            visit = &mut visit => visit,
            () = &mut behavior => visit.await,
        };
        let visit = visit.unwrap_or_else(|_| panic!("{name}: did not end within {IN_TIME:?}"));
        if started.elapsed() > SLOW {
            println!("{name}: ended after {:.1} s", started.elapsed().as_secs_f64());
        }
        visit.assert(&name, expected);
    }

    /// Waits until the exec-server has no process.
    pub(crate) async fn settle(&self) {
        let settled = async {
            while self.exec.processes() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(IN_TIME, settled)
            .await
            .expect("commands end with their sessions");
    }

    /// Waits until the exec-server has reported a matching notice.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Notice) -> bool) {
        let reported = async {
            while !lock(&self.notices).iter().any(&wanted) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = timeout(IN_TIME, reported).await;
        assert!(waited.is_ok(), "no notice: {what}; got {:?}", lock(&self.notices));
    }

    /// Asserts that the exec-server has reported no matching notice.
    #[track_caller]
    pub(crate) fn assert_no_notice(&self, unwanted: impl Fn(&Notice) -> bool) {
        let notices = lock(&self.notices);
        assert!(!notices.iter().any(unwanted), "{notices:?}");
    }

    /// Clears the notices that the exec-server has reported.
    pub(crate) fn clear_notices(&self) {
        lock(&self.notices).clear();
    }
}

async fn exec_server(relay: &HostileRelay, client: &Seed) -> (ExecService, Arc<Mutex<Vec<Notice>>>, Ticket) {
    let allow = AllowList::only(*client.client_key().unwrap().public(), "victim", Trust::Continue);
    let server = Server::new(&relay.url(), &Seed::generate().unwrap(), allow).unwrap();
    let exec = ExecService::new(server.epoch());
    let ticket = server.ticket();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let (registered, is_registered) = oneshot::channel();
    let registered = Mutex::new(Some(registered));
    let server = server.on_notice({
        let notices = Arc::clone(&notices);
        move |notice| {
            if let Notice::Registered = notice {
                lock(&registered).take().map(|registered| registered.send(()));
            }
            lock(&notices).push(notice);
        }
    });
    tokio::spawn(server.serve(exec.clone().into_server(), std::future::pending()));
    timeout(IN_TIME, is_registered).await.unwrap().unwrap();
    (exec, notices, ticket)
}

fn piece(number: usize) -> Bytes {
    (0..PIECE).map(|at| (at * 7 + number * 31) as u8).collect()
}

/// The input of a visit.
fn sent() -> Vec<u8> {
    (0..PIECES).flat_map(piece).collect()
}

impl Visit {
    /// Asserts that the visit had the expected result.
    #[track_caller]
    pub(crate) fn assert(&self, name: &str, expected: Expected) {
        let sent = sent();
        assert!(
            sent.starts_with(&self.stdout),
            "{name}: received other bytes than were sent"
        );
        match (&self.ended, expected) {
            (Ok(record), Expected::Unharmed) => {
                assert_eq!(self.stdout.len(), sent.len(), "{name}");
                assert_inside(name, record.as_ref().expect("traced"));
            }
            (Err(RunError::Connect(error)), Expected::NothingRuns | Expected::Cut) => drop(error.to_string()),
            (Err(RunError::Session(error)), Expected::NothingRuns | Expected::Cut) => drop(error.to_string()),
            (Ok(_), _) => panic!("{name}: the attack was not detected"),
            (Err(error), _) => panic!("{name}: {error:?}"),
        }
    }
}

/// Asserts that every stage lies inside the envelope, whatever the relay and the exec-server claim.
#[track_caller]
fn assert_inside(name: &str, record: &CallRecord) {
    let call = record.stage(CALL).unwrap();
    for stage in &record.stages {
        let is_inside =
            call.start_ns <= stage.start_ns && stage.start_ns <= stage.end_ns && stage.end_ns <= call.end_ns;
        assert!(is_inside, "{name}: {stage:?} in {call:?}");
    }
}

/// Prefix of the bystander's marks.
const BYSTANDER: &str = "bystander";

/// A client whose session the relay forwards unchanged. Every visit must succeed during the attacks on others. Returns
/// the number of visits.
async fn bystander(testbed: Arc<Testbed>, mut stopped: oneshot::Receiver<()>) -> usize {
    let client = testbed.client(&testbed.ticket);
    let mut visits = 0;
    while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        let name = format!("{BYSTANDER} {:016x}", rand::random::<u64>());
        let visit = timeout(IN_TIME, testbed.visit(&client, &name)).await.unwrap();
        visit.assert(&name, Expected::Unharmed);
        visits += 1;
    }
    client.close().await;
    visits
}

/// Runs `query` with a client of an exec-server that has the right key and this service.
pub(crate) async fn with_exec_server<T>(
    service: impl baton_channel::Service,
    query: impl AsyncFnOnce(Client) -> T,
) -> T {
    let relay = HostileRelay::start().await;
    let seed = Seed::generate().unwrap();
    let key = seed.client_key().unwrap();
    let allow = AllowList::only(*key.public(), "test", Trust::Continue);
    let server = Server::new(&relay.url(), &Seed::generate().unwrap(), allow).unwrap();
    let ticket = server.ticket();
    let (registered, is_registered) = tokio::sync::oneshot::channel();
    let registered = std::sync::Mutex::new(Some(registered));
    let server = server.on_notice(move |_| {
        // The first notice is the registration.
        crate::relay::lock(&registered)
            .take()
            .map(|registered| registered.send(()));
    });
    let serving = tokio::spawn(server.serve(service, std::future::pending()));
    within(is_registered).await.unwrap();
    let answer = within(query(Client::new(ticket, key))).await;
    serving.abort();
    answer
}
