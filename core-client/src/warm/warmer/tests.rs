use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, advance};

use super::super::state::WarmTrigger;
use super::*;

const INTERVAL: Duration = Duration::from_secs(30);

/// A target that counts warms. Each waits for a permit.
#[derive(Clone)]
struct Target {
    warms: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    outcome: Arc<Mutex<Outcome>>,
}

#[derive(Clone)]
enum Outcome {
    Hit(u8),
    Error(String),
    Panic,
}

impl Target {
    fn open() -> Self {
        let target = Self::closed();
        target.gate.add_permits(1_000);
        target
    }

    /// Warms begin, and do not end before they get a permit.
    fn closed() -> Self {
        Self {
            warms: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            outcome: Arc::new(Mutex::new(Outcome::Hit(100))),
        }
    }

    fn set(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap() = outcome;
    }

    fn warms(&self) -> usize {
        self.warms.load(Ordering::Relaxed)
    }

    fn warmer(&self) -> Warmer {
        Warmer::start(self.clone(), INTERVAL.try_into().unwrap())
    }
}

impl Warm for Target {
    async fn warm(&self) -> Result<HitPercent, String> {
        self.warms.fetch_add(1, Ordering::Relaxed);
        self.gate.acquire().await.unwrap().forget();
        let outcome = self.outcome.lock().unwrap().clone();
        match outcome {
            Outcome::Hit(percent) => Ok(HitPercent::new(percent).unwrap()),
            Outcome::Error(error) => Err(error),
            Outcome::Panic => panic!("as the test wants"),
        }
    }
}

/// The next change, which must be the next one.
async fn next(watch: &mut WarmWatch) -> WarmState {
    let change = watch.next().await.unwrap();
    assert_eq!(change.missed, 0);
    change.state
}

/// Lets the warmer's task run.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_warms_after_each_interval_and_says_so() {
    let target = Target::open();
    let warmer = target.warmer();
    let mut watch = warmer.watch();
    assert!(next(&mut watch).await.next_warm_at.is_some());
    let start = Instant::now();
    for turn in 1..=3 {
        let state = next(&mut watch).await;
        assert_eq!(start.elapsed(), turn * INTERVAL);
        assert_eq!(state.history.len(), turn as usize);
        assert_eq!(state.last_result.unwrap().hit(), Some(HitPercent::ALL));
        assert_eq!(state.history[0].trigger, WarmTrigger::Automatic);
    }
    assert_eq!(target.warms(), 3);
}

#[tokio::test(start_paused = true)]
async fn no_automatic_warm_begins_while_a_call_runs_or_warming_is_disabled() {
    let target = Target::open();
    let warmer = target.warmer();
    let mut watch = warmer.watch();
    next(&mut watch).await;
    let (one, other) = (warmer.call(), warmer.call());
    settle().await;
    advance(10 * INTERVAL).await;
    drop(one);
    settle().await;
    advance(10 * INTERVAL).await;
    settle().await;
    assert_eq!(target.warms(), 0);
    assert_eq!((warmer.state().active, warmer.state().next_warm_at), (true, None));
    drop(other);
    let start = Instant::now();
    let change = watch.next().await.unwrap();
    assert_eq!(
        (change.state.change, change.missed),
        (4, 3),
        "two starts and one end were missed"
    );
    assert_eq!(next(&mut watch).await.history.len(), 1);
    assert_eq!(start.elapsed(), INTERVAL, "armed from the end of the last call");
    warmer.set_enabled(false);
    assert_eq!(next(&mut watch).await.next_warm_at, None);
    advance(10 * INTERVAL).await;
    settle().await;
    assert_eq!(target.warms(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_manual_warm_returns_its_result_and_arms_the_timer_from_now() {
    let target = Target::open();
    let warmer = target.warmer();
    let mut watch = warmer.watch();
    next(&mut watch).await;
    advance(INTERVAL / 2).await;
    target.set(Outcome::Hit(40));
    let result = warmer.warm_now().await.unwrap();
    assert_eq!(result.hit().unwrap().get(), 40);
    assert_eq!(next(&mut watch).await.history[0].trigger, WarmTrigger::Manual);
    let start = Instant::now();
    assert_eq!(next(&mut watch).await.history.len(), 2);
    assert_eq!(start.elapsed(), INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn a_manual_warm_while_disabled_works_and_while_a_call_runs_is_busy() {
    let target = Target::open();
    let warmer = Warmer::start_disabled(target.clone(), INTERVAL.try_into().unwrap());
    warmer.warm_now().await.unwrap();
    let state = warmer.state();
    assert_eq!(
        (state.enabled, state.next_warm_at, state.history.len()),
        (false, None, 1)
    );
    let call = warmer.call();
    assert_eq!(warmer.warm_now().await, Err(WarmRefusal::Busy));
    drop(call);
    warmer.warm_now().await.unwrap();
    assert_eq!(target.warms(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_changed_interval_takes_effect_at_once() {
    let target = Target::open();
    let warmer = target.warmer();
    let mut watch = warmer.watch();
    next(&mut watch).await;
    settle().await;
    warmer.set_interval(Duration::from_secs(1).try_into().unwrap());
    assert_eq!(next(&mut watch).await.interval.as_millis(), 1_000);
    let start = Instant::now();
    next(&mut watch).await;
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn errors_and_panics_of_the_target_are_failures_and_it_warms_again() {
    let target = Target::open();
    let warmer = target.warmer();
    target.set(Outcome::Error("é".repeat(WARM_ERROR_MAX)));
    let long = warmer.warm_now().await.unwrap();
    assert_eq!(long.error().unwrap().len(), WARM_ERROR_MAX);
    target.set(Outcome::Panic);
    let panicked = warmer.warm_now().await.unwrap();
    assert!(panicked.error().unwrap().contains("panicked"), "{panicked:?}");
    let state = warmer.state();
    assert!(state.next_warm_at.is_some() && state.last_warm_at.is_none());
    target.set(Outcome::Hit(0));
    assert!(warmer.warm_now().await.unwrap().error().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_warm_that_never_ends_fails_at_its_timeout() {
    let target = Target::closed();
    let warmer = target.warmer();
    let start = Instant::now();
    let result = warmer.warm_now().await.unwrap();
    assert_eq!(start.elapsed(), WARM_TIMEOUT);
    assert!(result.error().unwrap().contains("40 s"), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_warm_overtaken_by_a_call_is_recorded_and_the_timer_counts_from_the_call() {
    let target = Target::closed();
    let warmer = target.warmer();
    advance(INTERVAL).await;
    settle().await;
    assert_eq!(target.warms(), 1);
    drop(warmer.call());
    let armed = warmer.state().next_warm_at;
    advance(Duration::from_secs(1)).await;
    target.gate.add_permits(1);
    settle().await;
    let state = warmer.state();
    assert_eq!(state.history.len(), 1);
    assert_eq!(state.next_warm_at, armed);
    advance(INTERVAL - Duration::from_millis(1_002)).await;
    settle().await;
    assert_eq!(target.warms(), 1);
    advance(Duration::from_millis(2)).await;
    settle().await;
    assert_eq!(target.warms(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_slow_gets_the_latest_state_and_the_number_that_it_missed() {
    let warmer = Target::open().warmer();
    let mut watch = warmer.watch();
    next(&mut watch).await;
    for _ in 0..5 {
        drop(warmer.call());
    }
    let change = watch.next().await.unwrap();
    assert_eq!((change.missed, change.state), (9, warmer.state()));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_warmer_stops_its_task_and_ends_its_watches() {
    let target = Target::closed();
    let warmer = target.warmer();
    let (mut watch, call) = (warmer.watch(), warmer.call());
    next(&mut watch).await;
    drop(call);
    advance(INTERVAL).await;
    settle().await;
    assert_eq!(target.warms(), 1, "a warm runs");
    let call = warmer.call();
    drop(warmer);
    while watch.next().await.is_some() {}
    drop(call);
    advance(10 * INTERVAL).await;
    settle().await;
    assert_eq!(
        (target.warms(), Arc::strong_count(&target.warms)),
        (1, 1),
        "the task's target is dropped"
    );
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_manual_warm_is_recorded() {
    let target = Target::closed();
    let warmer = target.warmer();
    let abandoned = timeout(Duration::from_secs(1), warmer.warm_now()).await;
    assert!(abandoned.is_err());
    assert_eq!(warmer.warm_now().await, Err(WarmRefusal::Warming));
    target.gate.add_permits(2);
    settle().await;
    assert_eq!(warmer.state().history.len(), 1);
    warmer.warm_now().await.unwrap();
}

#[test]
fn every_warm_after_the_end_of_the_runtime_is_refused_as_stopped() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let warmer = first.block_on(async { Target::open().warmer() });
    drop(first);
    for _ in 0..2 {
        let refused = runtime().block_on(warmer.warm_now());
        assert_eq!(refused, Err(WarmRefusal::Stopped));
    }
}
