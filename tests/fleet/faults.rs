//! Relays are killed, hang and drain while commands run, and return under their old names.

use std::time::{Duration, Instant};

use baton_support::scale::{is_full, scaled};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::commands::{Outcome, Running};
use crate::fleet::{DRAIN, Fleet};
use crate::network::RELAYS;
use crate::{PATIENCE, Verdict};

/// The longest time that a new command may wait for its start, whichever relay fails.
const WAIT: Duration = Duration::from_millis(1_500);

/// The same where a relay hangs: HAProxy notices that after 3.4 s at most.
const WAIT_FOR_HUNG: Duration = Duration::from_secs(6);

/// What is required on a machine that other programs load.
const WAIT_UNDER_LOAD: Duration = Duration::from_secs(40);

/// Commands run without a fault for so long before and after each.
const QUIET: Duration = Duration::from_secs(3);

/// A relay is away for so long.
const AWAY: Duration = Duration::from_secs(4);

/// A relay hangs for so long: longer than HAProxy takes to notice it.
const HUNG: Duration = Duration::from_secs(8);

/// What has happened last when a command began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Quiet,
    Killed,
    Hung,
    Drained,
    Returned,
}

impl Phase {
    const ALL: [Self; 5] = [
        Self::Quiet,
        Self::Killed,
        Self::Hung,
        Self::Drained,
        Self::Returned,
    ];
}

/// The phases, with their beginnings.
struct Phases(Vec<(Instant, Phase)>);

impl Phases {
    fn begin(&mut self, phase: Phase) {
        println!("  {phase:?}");
        self.0.push((Instant::now(), phase));
    }

    /// The phase at that time, with its beginning.
    fn of(&self, began: Instant) -> (Instant, Phase) {
        let mut before = self.0.iter().rev().filter(|(at, _)| *at <= began);
        before.next().copied().unwrap_or((began, Phase::Quiet))
    }

    /// How long a command that began then may wait. One that began before a hang may wait for it only if it would
    /// otherwise have been in time.
    fn bound(&self, outcome: &Outcome) -> Duration {
        if !is_full() {
            return WAIT_UNDER_LOAD;
        }
        let until = outcome.began + outcome.waited.min(WAIT);
        let meets = |(at, phase): &(Instant, Phase)| {
            *phase == Phase::Hung && *at <= until && outcome.began <= *at + WAIT_FOR_HUNG
        };
        match self.0.iter().any(meets) {
            true => WAIT_FOR_HUNG,
            false => WAIT,
        }
    }
}

/// Runs commands on every exec-server, and meanwhile lets one relay after another fail, in random order.
pub(crate) async fn under_commands(fleet: &mut Fleet, seed: u64) -> Verdict {
    let enough = scaled("commands of each exec-server, at least", 60, 1_000) as usize;
    let rounds = scaled("rounds of faults", 1, 3);
    let running = Running::start(fleet, enough, seed);
    let mut phases = Phases(vec![(Instant::now(), Phase::Quiet)]);
    let mut rng = StdRng::seed_from_u64(seed);
    sleep(QUIET).await;
    for _ in 0..rounds {
        let mut order: Vec<_> = (0..RELAYS.len()).collect();
        order.shuffle(&mut rng);

        phases.begin(Phase::Killed);
        fleet.relays[order[0]].kill();
        sleep(AWAY).await;
        fleet.return_relay(order[0]).await;
        phases.begin(Phase::Returned);
        sleep(QUIET).await;

        phases.begin(Phase::Hung);
        let hung = Instant::now();
        fleet.relays[order[1]].freeze().expect("it runs");
        fleet.balancer.await_state(order[1], &["DOWN"]).await;
        println!(
            "  the balancer noticed the hang after {} ms",
            hung.elapsed().as_millis()
        );
        sleep(HUNG.saturating_sub(hung.elapsed())).await;
        fleet.relays[order[1]].thaw().expect("it runs");
        fleet.balancer.await_state(order[1], &["UP"]).await;
        phases.begin(Phase::Returned);
        sleep(QUIET).await;

        phases.begin(Phase::Drained);
        let drained = Instant::now();
        fleet.relays[order[2]].terminate();
        // It ends before the next health check if it has no session.
        fleet.balancer.await_state(order[2], &["NOLB", "DOWN"]).await;
        println!(
            "  the balancer noticed the drain after {} ms",
            drained.elapsed().as_millis()
        );
        let status = block_in_place(|| fleet.relays[order[2]].wait(DRAIN + PATIENCE));
        println!("  the relay ended after {:.1} s", drained.elapsed().as_secs_f64());
        if !status.is_ok_and(|status| status.success()) {
            return Err("a drained relay does not exit with 0".into());
        }
        sleep(AWAY).await;
        fleet.return_relay(order[2]).await;
        phases.begin(Phase::Returned);
        sleep(QUIET).await;
    }
    phases.begin(Phase::Quiet);
    judge(&running.finish().await, &phases)
}

fn judge(outcomes: &[Outcome], phases: &Phases) -> Verdict {
    let mut violations: Vec<_> = outcomes
        .iter()
        .flat_map(|outcome| outcome.violations.clone())
        .collect();
    for phase in Phase::ALL {
        for is_warm in [true, false] {
            let of = outcomes
                .iter()
                .filter(|outcome| phases.of(outcome.began).1 == phase && outcome.is_warm == is_warm);
            print_waits(phase, is_warm, of.map(|outcome| outcome.waited).collect());
        }
    }
    for outcome in outcomes {
        let bound = phases.bound(outcome);
        if outcome.waited > bound {
            let (at, phase) = phases.of(outcome.began);
            violations.push(format!(
                "a {} command of exec-server {} that began {:.1} s after {phase:?} waited {:?}, more than {bound:?}",
                kind(outcome.is_warm),
                outcome.exec_server,
                (outcome.began - at).as_secs_f64(),
                outcome.waited
            ));
        }
    }
    let count = outcomes.len();
    match violations.is_empty() {
        true => Ok(format!("{count} commands, 0 lost, 0 run twice")),
        false => Err(format!(
            "{count} commands, {} violations, of which the first are:\n{}",
            violations.len(),
            violations[..violations.len().min(20)].join("\n")
        )),
    }
}

fn kind(is_warm: bool) -> &'static str {
    if is_warm { "warm" } else { "cold" }
}

fn print_waits(phase: Phase, is_warm: bool, mut waits: Vec<Duration>) {
    waits.sort();
    let at = |part: f64| {
        let index = ((waits.len() - 1) as f64 * part).round() as usize;
        waits[index].as_secs_f64() * 1e3
    };
    if !waits.is_empty() {
        println!(
            "  waits of new commands, {phase:?}, {}: {} commands, p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, longest {:.0} ms",
            kind(is_warm),
            waits.len(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0)
        );
    }
}
