//! The order of visits.

/// The order in which round number `round` visits `participants` participants.
///
/// Each is visited twice, in a palindrome (ABBA), so that linear drift within the round cancels. What a visit leaves
/// behind in caches and queues affects the next one, so over as many rounds as participants
///
/// * each follows each other one equally often, twice (E. J. Williams, "Experimental designs balanced for the
///   estimation of residual effects of treatments", 1949);
/// * each is once in the middle, where it follows itself;
/// * each has each position once.
///
/// The next as many rounds go through the same orders backwards, so that the first visit of a round does not always
/// follow the same participant either. That first visit follows the last of the round before, or the start of a process
/// set: it alone is not balanced, but each participant has it equally often.
pub fn schedule(participants: usize, round: usize) -> Vec<usize> {
    if participants == 0 {
        return Vec::new();
    }
    let (cycle, position) = (round / participants, round % participants);
    let shift = match cycle % 2 {
        0 => position,
        _ => participants - 1 - position,
    };
    // 0, 1, n − 1, 2, n − 2, …: all differences between neighbours are distinct.
    let zigzag = |position: usize| match position % 2 {
        1 => position.div_ceil(2),
        _ => participants - position / 2,
    };
    let forward = (0..participants).map(move |position| (zigzag(position) + shift) % participants);
    forward.clone().chain(forward.rev()).collect()
}

/// The number of rounds, at least `rounds`, after which each participant has followed each other one equally often within
/// the rounds of [`schedule`]: the next multiple of `participants`.
pub fn balanced_rounds(participants: usize, rounds: usize) -> usize {
    rounds.next_multiple_of(participants.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_participants_are_abba_then_baab_and_back() {
        let orders = [0, 1, 2, 3].map(|round| schedule(2, round));
        assert_eq!(orders, [[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]]);
    }

    #[test]
    fn no_participants_have_no_order() {
        assert_eq!(schedule(0, 3), [0; 0]);
    }

    proptest! {
        #[test]
        fn every_round_is_a_palindrome_of_two_visits_each(participants in 1usize..20, round in 0usize..100) {
            let order = schedule(participants, round);
            prop_assert!(order.iter().eq(order.iter().rev()));
            for participant in 0..participants {
                prop_assert_eq!(order.iter().filter(|visited| **visited == participant).count(), 2);
            }
        }

        #[test]
        fn over_as_many_rounds_as_participants_each_has_each_position_equally_often(participants in 1usize..20, cycle in 0usize..3) {
            for position in 0..2 * participants {
                let mut seen = vec![0; participants];
                for round in 0..participants {
                    seen[schedule(participants, cycle * participants + round)[position]] += 1;
                }
                prop_assert!(seen.iter().all(|times| *times == 1));
            }
        }

        #[test]
        fn over_as_many_rounds_as_participants_each_follows_each_other_twice(participants in 1usize..20, cycle in 0usize..3) {
            let mut follows = vec![vec![0; participants]; participants];
            for round in 0..participants {
                for pair in schedule(participants, cycle * participants + round).windows(2) {
                    follows[pair[0]][pair[1]] += 1;
                }
            }
            for (before, row) in follows.iter().enumerate() {
                for (after, times) in row.iter().enumerate() {
                    prop_assert_eq!(*times, if before == after { 1 } else { 2 });
                }
            }
        }
    }
}
