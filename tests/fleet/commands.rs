//! Commands of two kinds of client, and what is claimed of each: it runs once, its output is whole, it ends once with
//! its exit code. Each exec-server has a lane of commands over one warm session, and a lane of which each command has a
//! new client.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use baton_core_client::{Client, Command, Event, ExitStatus, RunError};
use baton_support::command_check::{Claim, Exit, Expected, Observed, Seen, check};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::PATIENCE;
use crate::fleet::Fleet;

/// The claims that this test can judge: it looks at no spans and at no descendants.
const JUDGED: [Claim; 4] = [
    Claim::RunsOnce,
    Claim::BytesAreWhole,
    Claim::OneExit,
    Claim::ClosedIsLast,
];

/// Longest pause of a lane between two commands; the pauses are random.
const PAUSE: Duration = Duration::from_millis(500);

/// Lines of a long command, one each half second, so that a fault meets it while it runs.
const LONG_LINES: usize = 8;

/// One of so many commands is long.
const LONG_EVERY: f64 = 0.1;

/// What became of a command.
pub(crate) struct Outcome {
    pub(crate) began: Instant,
    /// Until it had started.
    pub(crate) waited: Duration,
    pub(crate) is_warm: bool,
    pub(crate) exec_server: usize,
    /// The claims that do not hold.
    pub(crate) violations: Vec<String>,
}

/// Shared by all lanes.
struct Lanes {
    /// No lane ends before.
    faults_are_over: AtomicBool,
    /// Commands of each lane, at least.
    enough: usize,
    number: AtomicUsize,
    dir: PathBuf,
}

/// Commands that run in the background.
pub(crate) struct Running {
    lanes: Arc<Lanes>,
    tasks: JoinSet<Vec<Outcome>>,
}

impl Running {
    /// Starts both lanes of every exec-server. Each exec-server gets at least `enough` commands.
    pub(crate) fn start(fleet: &Fleet, enough: usize, seed: u64) -> Self {
        let lanes = Arc::new(Lanes {
            faults_are_over: AtomicBool::new(false),
            enough: enough.div_ceil(2),
            number: AtomicUsize::new(0),
            dir: fleet.file("starts"),
        });
        std::fs::create_dir_all(&lanes.dir).expect("a directory");
        let mut tasks = JoinSet::new();
        for exec_server in 0..fleet.exec_servers.len() {
            for is_warm in [true, false] {
                let rng = StdRng::seed_from_u64(seed ^ (exec_server as u64 * 2 + u64::from(is_warm)));
                let client = fleet.client(exec_server);
                tasks.spawn(lane(Arc::clone(&lanes), exec_server, client, is_warm, rng));
            }
        }
        Self { lanes, tasks }
    }

    /// Lets every lane finish, and returns all commands.
    pub(crate) async fn finish(self) -> Vec<Outcome> {
        self.lanes.faults_are_over.store(true, Relaxed);
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

async fn lane(
    lanes: Arc<Lanes>,
    exec_server: usize,
    client: Client,
    is_warm: bool,
    mut rng: StdRng,
) -> Vec<Outcome> {
    let mut long = JoinSet::new();
    let mut outcomes = Vec::new();
    while outcomes.len() + long.len() < lanes.enough || !lanes.faults_are_over.load(Relaxed) {
        let own = if is_warm { client.clone() } else { client.sibling() };
        let is_long = rng.random_bool(LONG_EVERY);
        let command = run(Arc::clone(&lanes), exec_server, own, is_warm, is_long);
        if is_long {
            long.spawn(command);
        } else {
            outcomes.push(command.await);
        }
        sleep(PAUSE.mul_f64(rng.random())).await;
    }
    outcomes.extend(long.join_all().await);
    outcomes
}

/// Runs one command to its end.
async fn run(lanes: Arc<Lanes>, exec_server: usize, client: Client, is_warm: bool, is_long: bool) -> Outcome {
    let number = lanes.number.fetch_add(1, Relaxed);
    let starts = lanes.dir.join(number.to_string());
    let code = i32::try_from(number % 7).unwrap_or_default();
    let lines = if is_long { LONG_LINES } else { 1 };
    let script = format!(
        "echo \"$$\" >>\"$STARTS\"; n=0; while [ $n -lt {lines} ]; do [ $n = 0 ] || sleep 0.5; echo {number}-$n; \
         n=$((n + 1)); done; echo error >&2; exit {code}"
    );
    let expected = Expected {
        stdout: (0..lines)
            .flat_map(|n| format!("{number}-{n}\n").into_bytes())
            .collect(),
        stderr: b"error\n".to_vec(),
        exit: Exit::Code(code),
        truncated: false,
        may_have_gaps: false,
        leaves: 0,
        calls: 1,
    };
    let command = Command::new("sh").arg("-c").arg(script).env("STARTS", &starts);
    let mut outcome = Outcome {
        began: Instant::now(),
        waited: Duration::MAX,
        is_warm,
        exec_server,
        violations: Vec::new(),
    };
    let mut observed = Observed::default();
    match timeout(
        2 * PATIENCE,
        observe(&client, command, &mut outcome, &mut observed),
    )
    .await
    {
        Ok(Ok(())) => {}
        Ok(Err(error)) => outcome
            .violations
            .push(format!("command {number} is lost: {error}")),
        Err(_) => outcome.violations.push(format!("command {number} does not end")),
    }
    if !is_warm {
        client.close().await;
    }
    let started = std::fs::read_to_string(&starts).unwrap_or_default();
    observed.starts = started.lines().map(str::to_owned).collect();
    let _ = std::fs::remove_file(&starts);
    let violations = check(&observed, &expected).into_iter();
    let judged = violations.filter(|(claim, _)| JUDGED.contains(claim));
    outcome
        .violations
        .extend(judged.map(|(claim, why)| format!("command {number}: {claim:?}: {why}")));
    outcome
}

async fn observe(
    client: &Client,
    command: Command,
    outcome: &mut Outcome,
    observed: &mut Observed,
) -> Result<(), RunError> {
    let (mut run, stdin) = client.start(command).await?;
    drop(stdin);
    while let Some(event) = run.next().await? {
        observed.events.push(match event {
            Event::Started { .. } => {
                outcome.waited = outcome.began.elapsed();
                Seen::Started
            }
            Event::Stdout(bytes) => Seen::Stdout(bytes.into()),
            Event::Stderr(bytes) => Seen::Stderr(bytes.into()),
            Event::Gap { .. } => Seen::Gap,
            Event::Exited { status, .. } => Seen::Exited(match status {
                ExitStatus::Code(code) => Exit::Code(code),
                ExitStatus::Signal { signal, .. } => Exit::Signal(signal),
            }),
            Event::Closed { truncated, .. } => Seen::Closed { truncated },
            Event::Repeated { .. } => unreachable!("no start is repeated"),
        });
    }
    Ok(())
}
