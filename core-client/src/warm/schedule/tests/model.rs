//! The schedule against a model that keeps every input and derives the state from the whole list.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Input {
    Advance(u64),
    /// The wall clock alone is set to this time.
    SetWall(u64),
    SetEnabled(bool),
    SetInterval(u64),
    CallStarted,
    CallEnded,
    Manual,
    Due,
    Ended(bool),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => prop_oneof![Just(0), 1..500_u64, Just(1_000), Just(2_000)].prop_map(Input::Advance),
        1 => (0..10_000_000_u64).prop_map(Input::SetWall),
        1 => any::<bool>().prop_map(Input::SetEnabled),
        1 => prop_oneof![Just(1_000), Just(2_000)].prop_map(Input::SetInterval),
        2 => Just(Input::CallStarted),
        2 => Just(Input::CallEnded),
        2 => Just(Input::Manual),
        3 => Just(Input::Due),
        3 => any::<bool>().prop_map(Input::Ended),
    ]
}

/// An input that had an effect, with the clocks at that time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fact {
    Created { enabled: bool, interval: u64 },
    Enabled(bool),
    Interval(u64),
    CallStarted,
    CallEnded,
    Began(WarmTrigger),
    Ended(bool),
}

#[derive(Debug, Default)]
struct Model(Vec<(Fact, u64, u64)>);

impl Model {
    fn facts(&self) -> impl DoubleEndedIterator<Item = Fact> {
        self.0.iter().map(|(fact, ..)| *fact)
    }

    fn enabled(&self) -> bool {
        self.facts()
            .rev()
            .find_map(|fact| match fact {
                Fact::Created { enabled, .. } | Fact::Enabled(enabled) => Some(enabled),
                _ => None,
            })
            .unwrap()
    }

    fn interval(&self) -> u64 {
        self.facts()
            .rev()
            .find_map(|fact| match fact {
                Fact::Created { interval, .. } | Fact::Interval(interval) => Some(interval),
                _ => None,
            })
            .unwrap()
    }

    fn calls(&self) -> usize {
        let started = self.facts().filter(|fact| *fact == Fact::CallStarted).count();
        started - self.facts().filter(|fact| *fact == Fact::CallEnded).count()
    }

    /// The index of the begin of the warm that runs.
    fn warming(&self) -> Option<usize> {
        let began = self
            .0
            .iter()
            .rposition(|(fact, ..)| matches!(fact, Fact::Began(_)))?;
        let has_ended = self.0[began..]
            .iter()
            .any(|(fact, ..)| matches!(fact, Fact::Ended(_)));
        (!has_ended).then_some(began)
    }

    /// The clocks when the timer was armed last; `None` if it is off.
    fn armed(&self) -> Option<(u64, u64)> {
        if !self.enabled() || self.calls() > 0 {
            return None;
        }
        let arms = |at: usize| match self.0[at].0 {
            Fact::Created { .. } | Fact::Enabled(_) | Fact::Interval(_) | Fact::CallEnded => true,
            Fact::Ended(_) => {
                let began = self.0[..at]
                    .iter()
                    .rposition(|(fact, ..)| matches!(fact, Fact::Began(_)));
                !self.0[began.unwrap()..at]
                    .iter()
                    .any(|(fact, ..)| *fact == Fact::CallStarted)
            }
            Fact::CallStarted | Fact::Began(_) => false,
        };
        let at = (0..self.0.len()).rev().find(|at| arms(*at)).unwrap();
        Some((self.0[at].1, self.0[at].2))
    }

    fn history(&self) -> Vec<(u64, WarmTrigger, bool, u64)> {
        let mut began = None;
        let mut history = Vec::new();
        for (fact, monotonic, wall) in &self.0 {
            match fact {
                Fact::Began(trigger) => began = Some((*trigger, *monotonic)),
                Fact::Ended(ok) => {
                    let (trigger, since) = began.unwrap();
                    history.push((*wall, trigger, *ok, monotonic - since));
                }
                _ => {}
            }
        }
        history.split_off(history.len().saturating_sub(WARM_HISTORY_MAX))
    }

    fn last_warm_at(&self) -> Option<u64> {
        let last = self.0.iter().rfind(|(fact, ..)| *fact == Fact::Ended(true));
        last.map(|(.., wall)| *wall)
    }

    fn changes(&self) -> u64 {
        let changes = self
            .facts()
            .filter(|fact| !matches!(fact, Fact::Created { .. } | Fact::Began(_)));
        changes.count() as u64
    }
}

/// Makes one input, and keeps it as a fact if the model says that it has an effect.
fn step(schedule: &mut WarmSchedule, model: &mut Model, clock: &mut Clock, input: &Input) {
    let now = clock.now();
    let fact = match *input {
        Input::Advance(ms) => {
            clock.advance(ms);
            None
        }
        Input::SetWall(ms) => {
            clock.wall_ms = ms;
            None
        }
        Input::SetEnabled(enabled) => {
            schedule.set_enabled(enabled, now);
            (enabled != model.enabled()).then_some(Fact::Enabled(enabled))
        }
        Input::SetInterval(ms) => {
            schedule.set_interval(interval(ms), now);
            (ms != model.interval()).then_some(Fact::Interval(ms))
        }
        Input::CallStarted => {
            schedule.call_started(now);
            Some(Fact::CallStarted)
        }
        Input::CallEnded => {
            schedule.call_ended(now);
            (model.calls() > 0).then_some(Fact::CallEnded)
        }
        Input::Manual => {
            let expected = match (model.calls(), model.warming()) {
                (0, None) => Ok(()),
                (0, Some(_)) => Err(WarmRefusal::Warming),
                _ => Err(WarmRefusal::Busy),
            };
            assert_eq!(schedule.begin_manual(now), expected);
            expected.ok().map(|()| Fact::Began(WarmTrigger::Manual))
        }
        Input::Due => {
            let is_due = model.warming().is_none()
                && model
                    .armed()
                    .is_some_and(|(armed, _)| armed + model.interval() <= clock.monotonic_ms);
            assert_eq!(schedule.begin_due(now), is_due);
            is_due.then_some(Fact::Began(WarmTrigger::Automatic))
        }
        Input::Ended(ok) => {
            schedule.end_warm(if ok { warmed() } else { failed() }, now);
            model.warming().map(|_| Fact::Ended(ok))
        }
    };
    if let Some(fact) = fact {
        model.0.push((fact, clock.monotonic_ms, clock.wall_ms));
    }
}

fn compare(schedule: &WarmSchedule, model: &Model, clock: &Clock) {
    let armed = model.armed();
    let timeout = armed.filter(|_| model.warming().is_none());
    assert_eq!(
        schedule.next_timeout(),
        timeout.map(|(monotonic, _)| clock.at(monotonic + model.interval()))
    );
    let state = schedule.state();
    let history: Vec<_> = state
        .history
        .iter()
        .map(|record| {
            let ok = record.result == warmed();
            (record.at, record.trigger, ok, record.duration.as_millis() as u64)
        })
        .collect();
    let expected = model.history();
    assert_eq!(state.enabled, model.enabled());
    assert_eq!(state.interval.as_millis(), model.interval());
    assert_eq!(state.active, model.calls() > 0);
    assert_eq!(state.next_warm_at, armed.map(|(_, wall)| wall + model.interval()));
    assert_eq!(state.last_warm_at, model.last_warm_at());
    assert_eq!(
        state.last_result.as_ref().map(|result| *result == warmed()),
        expected.last().map(|(_, _, ok, _)| *ok)
    );
    assert_eq!(history, expected);
    assert_eq!(state.change, model.changes());
}

proptest! {
    #[test]
    fn the_schedule_does_what_the_model_derives_from_all_inputs(
        enabled: bool,
        inputs in proptest::collection::vec(input(), 0..200),
    ) {
        let mut clock = Clock::new();
        let mut schedule = WarmSchedule::new(interval(1_000), enabled, clock.now());
        let mut model = Model(vec![(
            Fact::Created { enabled, interval: 1_000 },
            clock.monotonic_ms,
            clock.wall_ms,
        )]);
        compare(&schedule, &model, &clock);
        for input in &inputs {
            step(&mut schedule, &mut model, &mut clock, input);
            compare(&schedule, &model, &clock);
        }
    }
}
