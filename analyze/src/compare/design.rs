//! Which runs are resampled together.
//!
//! If the two sides share pairs (or blocks, where the same process set ran both), a unit is a pair with its runs of both
//! sides. Pairs that share a block are one unit, because they are not independent. Else each block is a unit of its side.

use std::collections::{BTreeMap, HashMap};

use crate::runs::{Run, Runs};

/// How the two sides were recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Design {
    /// In pairs of blocks that ran beside each other.
    Paired,
    /// Separately.
    Unpaired,
}

/// The indices of the runs of one unit, by side.
#[derive(Debug, Clone, Default)]
pub(super) struct Unit {
    pub(super) a: Vec<usize>,
    pub(super) b: Vec<usize>,
}

/// The units of a comparison, in the order in which they began.
#[derive(Debug)]
pub(super) struct Units {
    pub(super) design: Design,
    /// Paired: units with runs of both sides. Unpaired: units of one side each.
    pub(super) units: Vec<Unit>,
    /// Paired: runs of A and of B without a partner, which are left out.
    pub(super) left_out: [usize; 2],
}

/// What a comparison was computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// How the sides were recorded.
    pub design: Design,
    /// Runs of A and of B.
    pub runs: [usize; 2],
    /// Blocks of A and of B; in pairs, both are the number of pairs.
    pub blocks: [usize; 2],
    /// Runs of A and of B without a partner, which were left out.
    pub left_out: [usize; 2],
}

impl Units {
    /// Groups runs, which must be sorted.
    pub(super) fn new(a: &Runs, b: &Runs, unpaired: bool) -> Self {
        if !unpaired {
            let units = components(a, b);
            let (complete, rest): (Vec<Unit>, Vec<Unit>) = units
                .into_iter()
                .partition(|unit| !unit.a.is_empty() && !unit.b.is_empty());
            if !complete.is_empty() {
                return Self {
                    design: Design::Paired,
                    units: complete,
                    left_out: [
                        rest.iter().map(|unit| unit.a.len()).sum(),
                        rest.iter().map(|unit| unit.b.len()).sum(),
                    ],
                };
            }
        }
        let of_a = blocks(a).into_iter().map(|runs| Unit { a: runs, b: vec![] });
        let of_b = blocks(b).into_iter().map(|runs| Unit { a: vec![], b: runs });
        Self {
            design: Design::Unpaired,
            units: of_a.chain(of_b).collect(),
            left_out: [0, 0],
        }
    }

    pub(super) fn counts(&self, a: &Runs, b: &Runs) -> Counts {
        let count = |has: fn(&Unit) -> bool| self.units.iter().filter(|unit| has(unit)).count();
        Counts {
            design: self.design,
            runs: [a.len(), b.len()],
            blocks: [count(|unit| !unit.a.is_empty()), count(|unit| !unit.b.is_empty())],
            left_out: self.left_out,
        }
    }
}

/// The runs of each block, in the order in which the blocks began.
pub(super) fn blocks(runs: &Runs) -> Vec<Vec<usize>> {
    let mut by_block: HashMap<&str, usize> = HashMap::new();
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let block = *by_block.entry(&run.block).or_insert_with(|| {
            blocks.push(Vec::new());
            blocks.len() - 1
        });
        blocks[block].push(index);
    }
    blocks
}

/// The connected components of runs that share a pair, or a block.
fn components(a: &Runs, b: &Runs) -> Vec<Unit> {
    // Names to numbers. A pair is shared by both sides. A block is too: with the same name it is the same process set.
    let mut names: HashMap<(bool, &str), usize> = HashMap::new();
    let mut parents: Vec<usize> = Vec::new();
    let mut node = |parents: &mut Vec<usize>, name| {
        *names.entry(name).or_insert_with(|| {
            parents.push(parents.len());
            parents.len() - 1
        })
    };
    let mut nodes = [Vec::new(), Vec::new()];
    for (side, runs) in [a, b].into_iter().enumerate() {
        for run in runs.iter() {
            let block = node(&mut parents, (false, run.block.as_str()));
            if let Some(pair) = &run.pair {
                let pair = node(&mut parents, (true, pair.as_str()));
                let (one, other) = (root(&mut parents, block), root(&mut parents, pair));
                parents[one] = other;
            }
            nodes[side].push(block);
        }
    }
    let mut units: BTreeMap<usize, Unit> = BTreeMap::new();
    for (side, nodes) in nodes.iter().enumerate() {
        for (index, node) in nodes.iter().enumerate() {
            let unit = units.entry(root(&mut parents, *node)).or_default();
            let runs = if side == 0 { &mut unit.a } else { &mut unit.b };
            runs.push(index);
        }
    }
    let began = |runs: &Runs, indices: &[usize]| -> (u64, String) {
        let first = |run: &Run| (run.started_ns, run.trace.clone());
        indices
            .first()
            .map_or((u64::MAX, String::new()), |index| first(runs.run(*index)))
    };
    let mut units: Vec<Unit> = units.into_values().collect();
    units.sort_by_cached_key(|unit| began(a, &unit.a).min(began(b, &unit.b)));
    units
}

fn root(parents: &mut [usize], mut node: usize) -> usize {
    while parents[node] != node {
        parents[node] = parents[parents[node]];
        node = parents[node];
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(rows: &[(&str, Option<&str>)]) -> Runs {
        let mut runs = Runs::new();
        for (index, (block, pair)) in rows.iter().enumerate() {
            let run = Run {
                block: (*block).to_owned(),
                pair: pair.map(str::to_owned),
                started_ns: index as u64,
                ..Run::default()
            };
            runs.add(run, []);
        }
        runs
    }

    fn indices(units: &Units) -> Vec<(Vec<usize>, Vec<usize>)> {
        units
            .units
            .iter()
            .map(|unit| (unit.a.clone(), unit.b.clone()))
            .collect()
    }

    #[test]
    fn runs_of_one_pair_are_a_unit_and_what_has_no_partner_is_left_out() {
        let a = runs(&[
            ("a1", Some("1")),
            ("a1", Some("1")),
            ("a2", Some("2")),
            ("a3", None),
        ]);
        let b = runs(&[("b2", Some("2")), ("b1", Some("1")), ("b4", Some("4"))]);
        let units = Units::new(&a, &b, false);
        assert_eq!(units.design, Design::Paired);
        assert_eq!(indices(&units), [(vec![0, 1], vec![1]), (vec![2], vec![0])]);
        assert_eq!(units.left_out, [1, 1]);
    }

    #[test]
    fn pairs_that_share_a_block_are_one_unit() {
        let a = runs(&[("a", Some("1")), ("a", Some("2")), ("c", Some("3"))]);
        let b = runs(&[("b1", Some("1")), ("b2", Some("2")), ("b3", Some("3"))]);
        let units = Units::new(&a, &b, false);
        assert_eq!(indices(&units), [(vec![0, 1], vec![0, 1]), (vec![2], vec![2])]);
    }

    #[test]
    fn a_process_set_that_ran_both_sides_is_a_pair() {
        let a = runs(&[("1", None), ("2", None)]);
        let units = Units::new(&a, &a, false);
        assert_eq!(indices(&units), [(vec![0], vec![0]), (vec![1], vec![1])]);
    }

    #[test]
    fn blocks_without_pairs_are_units_of_their_side() {
        let (a, b) = (
            runs(&[("a1", None), ("a2", None), ("a1", None)]),
            runs(&[("b1", None)]),
        );
        let units = Units::new(&a, &b, false);
        assert_eq!(units.design, Design::Unpaired);
        assert_eq!(
            indices(&units),
            [(vec![0, 2], vec![]), (vec![1], vec![]), (vec![], vec![0])]
        );
        assert_eq!(units.counts(&a, &b).blocks, [2, 1]);
        let same = runs(&[("1", None)]);
        assert_eq!(Units::new(&same, &same, true).design, Design::Unpaired);
    }
}
