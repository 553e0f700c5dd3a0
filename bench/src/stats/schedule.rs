//! The order of visits.

/// The order in which round number `round` visits `participants` participants. Each is visited twice, in a palindrome
/// (ABBA), so that linear drift within the round cancels. The start rotates from round to round, so that each
/// participant is equally often first, and equally often in the middle, where it runs twice in a row with warm caches.
pub fn schedule(participants: usize, round: usize) -> Vec<usize> {
    let forward = (0..participants).map(|position| (position + round) % participants);
    forward.clone().chain(forward.rev()).collect()
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
        fn over_as_many_rounds_as_participants_each_has_each_position_equally_often(participants in 1usize..8) {
            for position in 0..2 * participants {
                let mut seen = vec![0; participants];
                for round in 0..participants {
                    seen[schedule(participants, round)[position]] += 1;
                }
                prop_assert!(seen.iter().all(|times| *times == 1));
            }
        }
    }
}
