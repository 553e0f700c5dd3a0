//! `baton cp -r` of many small files beside rsync over `ssh -J`.

use baton_bench::{Failure, Row};

use super::{BenchContext, Compared};
use crate::{bars, sources};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let source = bench.path("small");
    let directories = bench.plan.small_directories;
    sources::small_files(&source, directories)?;
    let files = sources::size(&source)?.files;
    let compared = Compared {
        id: "copy_tree",
        what: &format!("`baton cp -r` of {files} files of 4 KiB over `rsync -e 'ssh -J'`"),
        bar: bars::COPY_TREE,
        sets: bench.plan.copy_tree,
        needs: &["rsync"],
    };
    bench.both_directions(&source, &compared, |remote, from, to| remote.copy_tree(from, to))
}
