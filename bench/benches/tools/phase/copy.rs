//! `baton cp` of one large file beside `scp -J`.

use baton_bench::{Failure, Row};

use super::{BenchContext, Compared};
use crate::{bars, sources};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let source = bench.path("file");
    let bytes = bench.plan.file_bytes;
    sources::file(&source, bytes)?;
    let compared = Compared {
        id: "copy",
        what: &format!("`baton cp` of {} MiB over `scp -J`", bytes >> 20),
        bar: bars::COPY,
        sets: bench.plan.copy,
        needs: &["scp"],
    };
    bench.both_directions(&source, &compared, |remote, from, to| {
        let mut copy = remote.copy()?;
        copy.args([from, to]);
        Ok(copy)
    })
}
