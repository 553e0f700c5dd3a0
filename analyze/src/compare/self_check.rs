//! A against itself.
//!
//! This cannot measure how often equal programs are found different: parts of one recording always agree in 95 % of
//! comparisons. It finds what makes a comparison of this recording worthless: drift, and blocks that depend on each
//! other.
//!
//! * A recording in pairs is robust against drift. Here neighbouring blocks are the pairs, and the earlier block is A in
//!   every second pair only, so that drift cancels as it does in the comparison.
//! * Two separate recordings are not robust against drift. Here the earlier half is compared with the later half.

use super::design::{Design, Units, blocks};
use super::options::Options;
use super::stage::Change;
use super::verdict::SelfCheck;
use super::without_self_check;
use crate::runs::{Run, Runs};

/// Compares A, sorted, with itself as A and B would be compared.
pub(super) fn run(a: &Runs, b: &Runs, options: &Options) -> SelfCheck {
    let design = Units::new(a, b, options.unpaired).design;
    let blocks = blocks(a);
    let half = blocks.len() / 2;
    let (one, other) = match design {
        Design::Paired => {
            let pairs = |side: usize| (0..half).map(move |pair| (pair, 2 * pair + (pair + side) % 2));
            (part(a, &blocks, pairs(0), true), part(a, &blocks, pairs(1), true))
        }
        Design::Unpaired => {
            let later = blocks.len() - half;
            let halves =
                [(0, 0), (later, 0)].map(|(from, _)| (from..from + half).map(|block| (block, block)));
            let [earlier, later] = halves;
            (part(a, &blocks, earlier, false), part(a, &blocks, later, false))
        }
    };
    let options = Options {
        controls: Vec::new(),
        unpaired: design == Design::Unpaired,
        ..options.clone()
    };
    let comparison = without_self_check(&one, &other, &options);
    let moved = |change: &Change| matches!(change, Change::Slower | Change::Faster);
    SelfCheck {
        method: match design {
            Design::Paired => "pairs of neighbouring blocks",
            Design::Unpaired => "blocks of its earlier and of its later half",
        },
        units: half,
        moved: comparison
            .stages
            .into_iter()
            .filter(|stage| moved(&stage.change))
            .collect(),
    }
}

/// The runs of some blocks; `chosen` are the number of the pair and that of the block.
fn part(
    runs: &Runs,
    blocks: &[Vec<usize>],
    chosen: impl Iterator<Item = (usize, usize)>,
    paired: bool,
) -> Runs {
    let stages = runs.stages();
    let mut part = Runs::new();
    for (pair, block) in chosen {
        for index in &blocks[block] {
            let run = Run {
                pair: paired.then(|| pair.to_string()),
                ..runs.run(*index).clone()
            };
            let durations = stages.iter().map(|stage| (*stage, runs.duration(*index, stage)));
            part.add(
                run,
                durations.filter_map(|(stage, duration)| Some((stage, duration?))),
            );
        }
    }
    part
}
