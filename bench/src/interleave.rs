//! Rounds of visits.

use crate::Failure;
use crate::stats::{Rounds, schedule};

/// Visits the participants `0..participants` in `rounds` rounds, in the order of [`schedule`]. Returns the samples of
/// each participant. `after_round` runs before the first round and after each round; its argument is the number of
/// completed rounds.
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
    for round in 0..rounds {
        for visited in schedule(participants, round) {
            measured[visited].add(round, visit(visited)?);
        }
        after_round(round + 1)?;
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
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
}
