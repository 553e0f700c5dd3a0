//! What is below a directory.

use std::time::Instant;

use baton_proto::files::glob_response::Kind;
use baton_proto::files::{GlobEnd, GlobEntry, GlobPage, GlobResponse, Truncation};
use bytes::Bytes;
use prost::Message as _;
use rustix::fs::fstat;

use super::walk::Walk;
use super::{GlobOrder, Halt, Progress, Results, truncation};
use crate::files::error::FilesError;
use crate::files::place::open_directory;
use crate::files::stat::of_stat;
use crate::files::transfers::{Outbox, Stop};
use crate::settings::Directory;

fn page(entries: Vec<GlobEntry>) -> GlobResponse {
    GlobResponse {
        kind: Some(Kind::Page(GlobPage { entries })),
    }
}

/// Gives the answer of `Glob`.
pub(in crate::files) fn glob(
    order: &GlobOrder,
    default: Directory,
    deadline: Instant,
    outbox: &Outbox<Progress<GlobResponse>>,
) -> Result<(), Stop> {
    let base = open_directory(&order.place.locate(default)?)?;
    let mut walk = Walk::new(base, &order.place, default, &order.selection)?;
    let mut results = Results::new(outbox, deadline, page)?;
    let mut found = 0;
    let ended = find(order.max_results, &mut walk, &mut results, &mut found);
    let end = GlobEnd {
        results: found,
        truncated: truncation(ended)?.into(),
        unsearched: Some(walk.unsearched()),
    };
    results.end(GlobResponse {
        kind: Some(Kind::End(end)),
    })
}

fn find(
    max: u64,
    walk: &mut Walk,
    results: &mut Results<'_, GlobEntry, GlobResponse>,
    found: &mut u64,
) -> Result<(), Halt> {
    walk.begin(results)?;
    while walk.next(results)?.is_some() {
        let Some(location) = walk.locate()? else {
            continue;
        };
        let status = fstat(location).map_err(FilesError::of_place);
        let Some(status) = walk.unless_passed_over(status)? else {
            continue;
        };
        if *found == max {
            return Err(Halt::Truncated(Truncation::Results));
        }
        *found += 1;
        let entry = GlobEntry {
            path: Bytes::copy_from_slice(walk.path()),
            status: Some(of_stat(&status)),
        };
        let bytes = entry.encoded_len();
        results.add(entry, bytes)?;
    }
    Ok(())
}
