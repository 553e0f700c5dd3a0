//! Finds a root with `Stat` alone: probes of eight ancestors at once, nearest first, then of the next eight.
//!
//! The nearest ancestor that holds a marker wins, in whatever order the answers arrive. The first probes assume that
//! the start has no symbolic link and no `..`. The status of the start, asked for beside them, tells whether that was
//! true; if not, the search begins anew at the canonical path.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use baton_proto::limits::{MARKERS_MAX, NAME_MAX};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesOrdered;

use crate::files::{
    FileKind, Files, FilesError, FilesFailure, ProjectRoot, Stat, Unreadable, UnreadableReason, UpwardSearch,
};
use crate::limits::PROBED_AT_ONCE;

/// What one ancestor holds.
enum Probe<'a> {
    Marker(&'a OsStr),
    Nothing,
    Unknown(UnreadableReason),
}

/// As `FindUp`, but a directory that changes during the search is not noticed.
pub(super) async fn find(
    files: &Files,
    start: &Path,
    markers: &[OsString],
) -> Result<UpwardSearch, FilesError> {
    check(markers)?;
    let guess = is_plain(start).then_some(start);
    let (canonical, first) = match guess {
        Some(guess) => {
            let first = probe_batch(files, guess, 0, markers);
            // A start that is none fails before its probes, whose answers mean nothing.
            let canonical = async { canonical(files, start).await };
            let (canonical, first) = tokio::join!(canonical, first);
            (canonical?, Some(first))
        }
        None => (canonical(files, start).await?, None),
    };
    let mut search = UpwardSearch {
        root: None,
        start: canonical,
        unreadable: 0,
        first_unreadable: None,
    };
    let start = search.start.clone();
    let mut batch = match first {
        Some(first) if guess == Some(&*start) => first?,
        _ => probe_batch(files, &start, 0, markers).await?,
    };
    let mut from = 0;
    loop {
        let is_last = batch.len() < PROBED_AT_ONCE;
        for (depth, (directory, probe)) in (from..).zip(start.ancestors().skip(from).zip(batch)) {
            match probe {
                Probe::Marker(marker) => {
                    search.root = Some(ProjectRoot {
                        directory: directory.to_owned(),
                        marker: marker.to_owned(),
                        depth: u32::try_from(depth).unwrap_or(u32::MAX),
                    });
                    return Ok(search);
                }
                Probe::Nothing => {}
                Probe::Unknown(reason) => {
                    search.unreadable += 1;
                    search.first_unreadable.get_or_insert_with(|| Unreadable {
                        directory: directory.to_owned(),
                        reason,
                    });
                }
            }
        }
        from += PROBED_AT_ONCE;
        if is_last {
            return Ok(search);
        }
        batch = probe_batch(files, &start, from, markers).await?;
    }
}

/// The probes of up to eight ancestors, up to the first that holds a marker. Later answers are not awaited.
async fn probe_batch<'a>(
    files: &Files,
    start: &Path,
    from: usize,
    markers: &'a [OsString],
) -> Result<Vec<Probe<'a>>, FilesError> {
    let ancestors = start.ancestors().skip(from).take(PROBED_AT_ONCE);
    let mut probes: FuturesOrdered<_> = ancestors
        .map(|directory| probe(files, directory, markers))
        .collect();
    let mut answers = Vec::with_capacity(PROBED_AT_ONCE);
    while let Some(answer) = probes.next().await {
        let answer = answer?;
        let is_found = matches!(answer, Probe::Marker(_));
        answers.push(answer);
        if is_found {
            break;
        }
    }
    Ok(answers)
}

async fn probe<'a>(
    files: &Files,
    directory: &Path,
    markers: &'a [OsString],
) -> Result<Probe<'a>, FilesError> {
    let answers = join_all(
        markers
            .iter()
            .map(|marker| files.stat(directory.join(marker), true)),
    )
    .await;
    let mut unknown = None;
    for (marker, answer) in markers.iter().zip(answers) {
        match answer {
            Ok(Stat::Found(_)) => return Ok(Probe::Marker(marker)),
            Ok(Stat::NotFound) => {}
            Ok(Stat::NotPermitted) => {
                unknown.get_or_insert(UnreadableReason::NotPermitted);
            }
            // The path of the marker is too long to be looked up.
            Err(FilesError::Failed {
                failure: FilesFailure::Io | FilesFailure::InvalidPath,
                ..
            }) => {
                unknown.get_or_insert(UnreadableReason::Failed);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(unknown.map_or(Probe::Nothing, Probe::Unknown))
}

/// The start directory without symbolic links.
async fn canonical(files: &Files, start: &Path) -> Result<PathBuf, FilesError> {
    let failed = |failure, message: &str| FilesError::Failed {
        failure,
        message: message.to_owned(),
    };
    match files.stat(start, true).await? {
        Stat::Found(found) if found.kind == FileKind::Directory => match found.canonical {
            Some(canonical) => Ok(canonical),
            // It cannot say; the path is taken as it is.
            None if is_plain(start) => Ok(start.to_owned()),
            None => Err(FilesError::Protocol("no canonical path of the start directory")),
        },
        Stat::Found(_) => Err(failed(
            FilesFailure::NotADirectory,
            "the start is not a directory: search from the directory that holds it",
        )),
        Stat::NotFound => Err(failed(
            FilesFailure::NotFound,
            "the start directory does not exist: check its path on the exec-server's machine",
        )),
        Stat::NotPermitted => Err(failed(
            FilesFailure::NotPermitted,
            "the exec-server's user may not search a directory on the way to the start: check its permissions",
        )),
    }
}

/// Whether the ancestors of a path are those that its text has, unless there are symbolic links.
fn is_plain(path: &Path) -> bool {
    let has_no_parent = path.components().all(|part| part != Component::ParentDir);
    // `components` normalises, so that the comparison with a canonical path is one of bytes.
    path.is_absolute() && has_no_parent && path.components().as_path().as_os_str() == path.as_os_str()
}

/// The exec-server cannot check them: each is joined to a directory.
fn check(markers: &[OsString]) -> Result<(), FilesError> {
    let is_name = |name: &OsString| {
        (1..=NAME_MAX).contains(&name.len())
            && !name.as_bytes().iter().any(|byte| matches!(byte, 0 | b'/'))
            && !matches!(name.as_bytes(), b"." | b"..")
    };
    let are_names = (1..=MARKERS_MAX).contains(&markers.len()) && markers.iter().all(is_name);
    are_names.then_some(()).ok_or_else(|| FilesError::Failed {
        failure: FilesFailure::InvalidMarkers,
        message: format!(
            "a search has 1 to {MARKERS_MAX} markers, each one name of 1 to {NAME_MAX} bytes, without `/` and NUL, and \
             not `.` or `..`"
        ),
    })
}
