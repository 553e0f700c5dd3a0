//! rsync of a tree over `baton ssh`, and over `ssh -J`.

use baton_bench::{Failure, Row};

use super::{BenchContext, Compared};
use crate::{bars, sources};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let source = bench.path("tree");
    let parts = bench.plan.tree_parts;
    sources::tree(&source, parts)?;
    let compared = Compared {
        id: "rsync",
        what: &format!(
            "rsync of a tree of {} MB over the same through `ssh -J`",
            10 * parts
        ),
        bar: bars::RSYNC,
        sets: bench.plan.rsync,
        needs: &["rsync"],
    };
    bench.both_directions(&source, &compared, |remote, from, to| {
        let mut rsync = remote.program("rsync")?;
        rsync.args(["-a", "-e", &remote.shell()?]);
        // The slash: what is in the tree, and not the tree, goes to the copy.
        rsync.args([format!("{from}/"), format!("{to}/")]);
        Ok(rsync)
    })
}
