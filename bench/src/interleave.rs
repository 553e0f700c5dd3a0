//! Rounds of visits, and process sets.

use crate::Failure;
use crate::stats::{Rounds, balanced_rounds, schedule};

/// Visits the participants `0..participants` in rounds, in the order of [`schedule`]: in `rounds` of them, rounded up to
/// the next [balanced](balanced_rounds) number. Returns the samples of each participant. `after_round` runs before the
/// first round and after each round; its argument is the number of completed rounds.
///
/// # Errors
/// The first error of `visit` or `after_round`.
pub fn interleave(
    participants: usize,
    rounds: usize,
    mut visit: impl FnMut(usize) -> Result<Vec<f64>, Failure>,
    mut after_round: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<Vec<Rounds>, Failure> {
    let mut measured = vec![Rounds::default(); participants];
    after_round(0)?;
    for round in 0..balanced_rounds(participants, rounds) {
        for visited in schedule(participants, round) {
            measured[visited].add(round, visit(visited)?);
        }
        after_round(round + 1)?;
    }
    Ok(measured)
}

/// How often processes are started anew, and how often they are visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessSets {
    /// Process sets, one after the other.
    pub sets: usize,
    /// Rounds of visits to each. A round visits each participant twice.
    pub rounds: usize,
}

impl ProcessSets {
    /// As many sets, or the next larger number with which the rounds of all sets together are
    /// [balanced](balanced_rounds).
    pub fn balanced(self, participants: usize) -> Self {
        let is_balanced = |sets: &usize| {
            let rounds = sets * self.rounds;
            balanced_rounds(participants, rounds) == rounds
        };
        // As many sets as participants are balanced whatever the rounds, so are multiples of that.
        let sets = (self.sets..).find(is_balanced).unwrap_or(self.sets);
        Self { sets, ..self }
    }

    /// Starts all participants anew for each set, of which there are a [balanced](Self::balanced) number, and visits
    /// them in rounds. Returns the samples of `N` quantities, by
    /// quantity, participant and *set*: all rounds of a set count as one of [`Rounds`], so that the bootstrap draws
    /// sets.
    ///
    /// The rounds of all sets together are scheduled as in one [`interleave`], because a set may have fewer rounds than
    /// [`schedule`] needs for its balance. `start` receives the number of the set. `visit` receives the number of the
    /// participant. `stop` ends the processes.
    ///
    /// # Errors
    /// The first error of a function.
    pub fn measure<S, const N: usize>(
        self,
        participants: usize,
        mut start: impl FnMut(usize) -> Result<S, Failure>,
        mut visit: impl FnMut(&S, usize) -> Result<[Vec<f64>; N], Failure>,
        mut stop: impl FnMut(S) -> Result<(), Failure>,
    ) -> Result<[Vec<Rounds>; N], Failure> {
        let mut measured = [(); N].map(|()| vec![Rounds::new(); participants]);
        for set in 0..self.balanced(participants).sets {
            let processes = start(set)?;
            for round in 0..self.rounds {
                for visited in schedule(participants, set * self.rounds + round) {
                    let samples = visit(&processes, visited)?;
                    for (quantity, samples) in measured.iter_mut().zip(samples) {
                        quantity[visited].add(set, samples);
                    }
                }
            }
            stop(processes)?;
        }
        Ok(measured)
    }

    /// [`measure`](Self::measure) of processes that end when they are dropped. Visits each participant of a new set once
    /// as an uncounted warm-up.
    ///
    /// # Errors
    /// The first error of a function.
    pub fn measure_warm<S, const N: usize>(
        self,
        participants: usize,
        mut start: impl FnMut(usize) -> Result<S, Failure>,
        visit: impl Fn(&S, usize) -> Result<[Vec<f64>; N], Failure>,
    ) -> Result<[Vec<Rounds>; N], Failure> {
        let warmed = |set| {
            let processes = start(set)?;
            for participant in 0..participants {
                visit(&processes, participant)?;
            }
            Ok(processes)
        };
        self.measure(participants, warmed, &visit, |processes| {
            drop(processes);
            Ok(())
        })
    }
}

/// [`ProcessSets::measure`] of one quantity.
///
/// # Errors
/// The first error of a function.
pub fn in_sets<S>(
    sets: ProcessSets,
    participants: usize,
    start: impl FnMut(usize) -> Result<S, Failure>,
    mut visit: impl FnMut(&S, usize) -> Result<Vec<f64>, Failure>,
    stop: impl FnMut(S) -> Result<(), Failure>,
) -> Result<Vec<Rounds>, Failure> {
    let visit = |processes: &S, visited| Ok([visit(processes, visited)?]);
    let [measured] = sets.measure(participants, start, visit, stop)?;
    Ok(measured)
}

/// Starts `count` processes of process set number `set`. The order of starting rotates from set to set, so that none is
/// always the first. Returns them by number.
///
/// # Errors
/// The first error of `start`.
pub fn start_in_turns<T>(
    set: usize,
    count: usize,
    mut start: impl FnMut(usize) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut started = (0..count)
        .map(|turn| (turn + set) % count)
        .map(|number| Ok((number, start(number)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    started.sort_by_key(|(number, _)| *number);
    Ok(started.into_iter().map(|(_, started)| started).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_are_kept_by_participant_and_round() {
        let mut visits = 0.0;
        let mut rounds_done = Vec::new();
        let measured = interleave(
            2,
            2,
            |participant| {
                visits += 1.0;
                Ok(vec![10.0 * participant as f64 + visits])
            },
            |done| {
                rounds_done.push(done);
                Ok(())
            },
        );
        // ABBA, then BAAB.
        assert_eq!(
            measured.unwrap(),
            [
                Rounds::from([&[1.0, 4.0][..], &[6.0, 7.0]]),
                Rounds::from([&[12.0, 13.0][..], &[15.0, 18.0]]),
            ]
        );
        assert_eq!(rounds_done, [0, 1, 2]);
    }

    #[test]
    fn a_failed_visit_stops_the_rounds() {
        let failing = |_| Err("no".into());
        assert!(interleave(2, 2, failing, |_| Ok(())).is_err());
    }

    #[test]
    fn every_set_is_started_anew_and_stopped_and_its_samples_are_one_block() {
        let sets = ProcessSets { sets: 2, rounds: 2 };
        let (mut stopped, mut order) = (Vec::new(), Vec::new());
        let measured = sets.measure(
            2,
            |set| Ok(10.0 * set as f64),
            |processes, visited| {
                order.push(visited);
                Ok([vec![*processes + visited as f64], vec![-1.0, -2.0]])
            },
            |processes| {
                stopped.push(processes);
                Ok(())
            },
        );
        let [of_set, other] = measured.unwrap();
        assert_eq!(stopped, [0.0, 10.0]);
        // Each set is one block of four visits, and no visit of a set is counted as another set's.
        assert_eq!(
            of_set,
            [
                Rounds::from([&[0.0; 4][..], &[10.0; 4]]),
                Rounds::from([&[1.0; 4][..], &[11.0; 4]]),
            ]
        );
        assert_eq!((other[0].len(), other[0].samples()), (2, 16));
        // The schedule goes on over the sets.
        let scheduled: Vec<_> = (0..4).flat_map(|round| schedule(2, round)).collect();
        assert_eq!(order, scheduled);
    }

    #[test]
    fn a_new_set_is_warmed_by_visits_that_are_not_counted() {
        let sets = ProcessSets { sets: 2, rounds: 1 };
        let visits = Cell::new(0);
        let visit = |(): &(), _| {
            visits.update(|visits| visits + 1);
            Ok([vec![f64::from(visits.get())]])
        };
        let [measured] = sets.measure_warm(2, |_| Ok(()), visit).unwrap();
        // Of twelve visits, the first two of each set are warm-ups.
        assert_eq!(visits.get(), 12);
        assert_eq!(
            measured,
            [
                Rounds::from([&[3.0, 6.0][..], &[10.0, 11.0]]),
                Rounds::from([&[4.0, 5.0][..], &[9.0, 12.0]]),
            ]
        );
    }

    #[test]
    fn an_error_of_starting_or_stopping_ends_the_measurement() {
        let sets = ProcessSets { sets: 2, rounds: 1 };
        let visit = |(): &(), _| Ok(vec![1.0]);
        assert!(in_sets(sets, 1, |_| Err("no".into()), visit, |()| Ok(())).is_err());
        assert!(in_sets(sets, 1, |_| Ok(()), visit, |()| Err("no".into())).is_err());
        assert_eq!(
            in_sets(sets, 1, |_| Ok(()), visit, |()| Ok(())).unwrap()[0].len(),
            2
        );
    }

    #[test]
    fn the_order_of_starting_rotates_and_the_processes_keep_their_numbers() {
        let mut orders = Vec::new();
        for set in 0..4 {
            let mut order = Vec::new();
            let started = start_in_turns(set, 3, |number| {
                order.push(number);
                Ok(number)
            });
            assert_eq!(started.unwrap(), [0, 1, 2]);
            orders.push(order);
        }
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }

    /// Checks that within the rounds of `visits` each participant follows each other equally often.
    fn check_balance(participants: usize, visits: &[usize]) -> Result<(), TestCaseError> {
        let mut follows = vec![vec![0; participants]; participants];
        for round in visits.chunks(2 * participants) {
            for pair in round.windows(2) {
                follows[pair[0]][pair[1]] += 1;
            }
        }
        let each = visits.len() / (participants * participants);
        for (before, row) in follows.iter().enumerate() {
            for (after, times) in row.iter().enumerate() {
                // A round has its own participant in the middle, which follows itself.
                prop_assert_eq!(*times, if before == after { each / 2 } else { each });
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn over_any_plan_of_sets_each_participant_follows_each_other_equally_often(
            participants in 1usize..16, sets in 1usize..10, rounds in 1usize..8
        ) {
            let (mut visits, mut started) = (Vec::new(), 0);
            let plan = ProcessSets { sets, rounds };
            let start = |_| {
                started += 1;
                Ok(())
            };
            let visit = |(): &(), visited| {
                visits.push(visited);
                Ok(vec![1.0])
            };
            in_sets(plan, participants, start, visit, |()| Ok(())).unwrap();
            check_balance(participants, &visits)?;
            // No more sets than that needs, and never fewer than planned.
            prop_assert!((sets..sets + participants).contains(&started));
            prop_assert_eq!(started, plan.balanced(participants).sets);
        }

        #[test]
        fn over_any_plan_of_rounds_each_participant_follows_each_other_equally_often(
            participants in 1usize..16, rounds in 1usize..40
        ) {
            let mut visits = Vec::new();
            let visit = |visited| {
                visits.push(visited);
                Ok(vec![1.0])
            };
            interleave(participants, rounds, visit, |_| Ok(())).unwrap();
            check_balance(participants, &visits)?;
            let done = visits.len() / (2 * participants);
            prop_assert!((rounds..rounds + participants).contains(&done));
        }
    }
}
