//! Blocks of runs that have a client process each, such as those of `baton exec`.
//!
//! Such runs tell no block: each is one of its own, although runs that followed each other shared the state of the
//! machine. If the sides were recorded in turns, a block is a series of runs of one side, and a series of A and the
//! series of B beside it are a pair.

use super::Runs;
use crate::limits::BLOCKS_MIN;

/// Makes such blocks and pairs, if each run is a block of its own and the sides were recorded in enough turns. Returns
/// whether it did.
pub fn block_by_alternation(a: &mut Runs, b: &mut Runs) -> bool {
    if !(is_one_run_a_block(a) && is_one_run_a_block(b)) {
        return false;
    }
    let of_side = |side: usize, runs: &Runs| -> Vec<(u64, usize, usize)> {
        let started = runs.iter().enumerate();
        started
            .map(|(index, run)| (run.started_ns, side, index))
            .collect()
    };
    let mut order = of_side(0, a);
    order.extend(of_side(1, b));
    order.sort_unstable();
    let mut series: Vec<(usize, Vec<usize>)> = Vec::new();
    for (_, side, index) in order {
        match series.last_mut() {
            Some((last, runs)) if *last == side => runs.push(index),
            _ => series.push((side, vec![index])),
        }
    }
    // One of each side is needed for a pair.
    if series.len() < 2 * BLOCKS_MIN {
        return false;
    }
    for (number, (side, indices)) in series.into_iter().enumerate() {
        let runs = if side == 0 { &mut *a } else { &mut *b };
        for index in indices {
            let run = &mut runs.rows[index].0;
            run.block = format!("series {number}");
            run.pair = Some(format!("pair {}", number / 2));
        }
    }
    true
}

fn is_one_run_a_block(runs: &Runs) -> bool {
    let mut blocks: Vec<&str> = runs.iter().map(|run| run.block.as_str()).collect();
    blocks.sort_unstable();
    blocks.dedup();
    !runs.is_empty() && blocks.len() == runs.len() && runs.iter().all(|run| run.pair.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::Run;

    /// Runs of both sides in this order, each a block of its own.
    fn recorded(order: &str) -> (Runs, Runs) {
        let mut sides = (Runs::new(), Runs::new());
        for (at, side) in order.chars().enumerate() {
            let run = Run {
                block: format!("client {at}"),
                started_ns: at as u64,
                ..Run::default()
            };
            let runs = if side == 'a' { &mut sides.0 } else { &mut sides.1 };
            runs.add(run, []);
        }
        sides
    }

    #[test]
    fn runs_in_turns_are_blocks_and_pairs() {
        let (mut a, mut b) = recorded(&"aabba".repeat(BLOCKS_MIN));
        assert!(block_by_alternation(&mut a, &mut b));
        let of = |runs: &Runs, index: usize| {
            let run = runs.run(index);
            (run.block.clone(), run.pair.clone().unwrap())
        };
        let named = |block: &str, pair: &str| (block.to_owned(), pair.to_owned());
        assert_eq!(
            [of(&a, 0), of(&a, 1)],
            [named("series 0", "pair 0"), named("series 0", "pair 0")]
        );
        assert_eq!(of(&b, 0), named("series 1", "pair 0"));
        // The last run of one round and the first two of the next follow each other.
        assert_eq!(
            [of(&a, 2), of(&a, 4)],
            [named("series 2", "pair 1"), named("series 2", "pair 1")]
        );
    }

    #[test]
    fn recordings_one_after_the_other_and_known_blocks_stay_as_they_are() {
        let (mut a, mut b) = recorded(&("a".repeat(50) + &"b".repeat(50)));
        assert!(!block_by_alternation(&mut a, &mut b));
        assert_eq!((a.run(3).block.as_str(), &a.run(3).pair), ("client 3", &None));
        let (mut a, mut b) = recorded(&"ab".repeat(50));
        a.rows[1].0.block = "client 0".to_owned();
        assert!(!block_by_alternation(&mut a, &mut b));
    }
}
