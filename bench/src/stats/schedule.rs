//! The order of visits.

/// The order in which round number `round` visits `participants` participants: each twice, as a palindrome, so that
/// a drift that is linear over the round cancels (ABBA). The start rotates from round to round, so that each gets the
/// places at the ends and in the middle, where it runs twice in a row with warm caches, equally often.
pub fn schedule(participants: usize, round: usize) -> Vec<usize> {
    let there = (0..participants).map(|place| (place + round) % participants);
    there.clone().chain(there.rev()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_participants_are_abba_then_baab() {
        assert_eq!(schedule(2, 0), [0, 1, 1, 0]);
        assert_eq!(schedule(2, 1), [1, 0, 0, 1]);
    }

    proptest! {
        #[test]
        fn every_round_is_a_palindrome_of_two_visits_each(participants in 1usize..8, round in 0usize..100) {
            let order = schedule(participants, round);
            prop_assert!(order.iter().eq(order.iter().rev()));
            for participant in 0..participants {
                prop_assert_eq!(order.iter().filter(|visited| **visited == participant).count(), 2);
            }
        }

        #[test]
        fn over_as_many_rounds_as_participants_each_has_each_place_equally_often(participants in 1usize..8) {
            for place in 0..2 * participants {
                let mut seen = vec![0; participants];
                for round in 0..participants {
                    seen[schedule(participants, round)[place]] += 1;
                }
                prop_assert!(seen.iter().all(|times| *times == 1));
            }
        }
    }
}
