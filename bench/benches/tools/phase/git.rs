//! `git clone` over `baton ssh`, and over `ssh -J`.

use baton_bench::{Failure, Row};

use super::{BenchContext, Compared, remove};
use crate::peers::Remote;
use crate::{bars, sources};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let (source, clone) = (bench.path("repository.git"), bench.path("clone"));
    let commits = bench.plan.commits;
    sources::repository(&source, commits)?;
    let compared = Compared {
        id: "git",
        what: &format!("`git clone` of {commits} commits over the same through `ssh -J`"),
        bar: bars::GIT,
        sets: bench.plan.git,
        needs: &["git"],
    };
    let command = |remote: &dyn Remote| {
        let mut git = remote.program("git")?;
        sources::set_plain(&mut git);
        git.env("GIT_SSH_COMMAND", remote.shell()?);
        git.args(["clone", "--quiet", &remote.place(&source)]).arg(&clone);
        Ok(git)
    };
    let check = || {
        let output = sources::git(&clone)
            .args(["rev-list", "--count", "HEAD"])
            .output()?;
        match String::from_utf8_lossy(&output.stdout).trim() {
            count if count == commits.to_string() => Ok(()),
            other => Err(format!("the clone has {other:?} commits").into()),
        }
    };
    let rows = bench.compare(&compared, &clone, &command, &check)?;
    remove(&source)?;
    Ok(rows)
}
