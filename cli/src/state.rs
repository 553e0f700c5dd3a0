//! Where an exec-server keeps its records, and what its owner hears of them.

use std::path::PathBuf;

use baton_meta::store::retention::Retention;
use baton_meta::store::sqlite::Options;
use baton_meta::{Keeper, OpenReport, ShutdownReport};
use baton_proto::{Epoch, ExecServerId};
use baton_trace::record::unix_now_ns;
use baton_trace::recorder::Recorder;

use crate::args::{Durability, ExecServerArgs};
use crate::error::CliError;
use crate::limits::{HEALTH_LOOK, RETAIN_AGE, RETAIN_BYTES};

/// What is kept for how long unless `--retain` says so.
const RETAIN: Retention = Retention {
    age: Some(RETAIN_AGE),
    bytes: Some(RETAIN_BYTES),
};

/// The directory of `--state`; `None` for `none`. By default one for each exec-server, in the XDG state directory
/// (`$XDG_STATE_HOME/baton`, else `~/.local/state/baton`).
fn directory(given: Option<PathBuf>, id: ExecServerId) -> Result<Option<PathBuf>, CliError> {
    match given {
        Some(given) if given.as_os_str() == "none" => return Ok(None),
        Some(given) => return Ok(Some(given)),
        None => {}
    }
    let xdg = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let state = xdg.or_else(|| {
        std::env::home_dir()
            .filter(|home| !home.as_os_str().is_empty())
            .map(|home| home.join(".local/state"))
    });
    Ok(Some(
        state.ok_or(CliError::NoHome)?.join("baton").join(id.to_string()),
    ))
}

/// Opens the records, and tells what was found.
pub(crate) fn open(
    args: &ExecServerArgs,
    id: ExecServerId,
    epoch: Epoch,
    recorder: Recorder,
) -> Result<Keeper, CliError> {
    let Some(directory) = directory(args.state.clone(), id)? else {
        // In memory a size that nobody asked for is the store's own.
        let retention = args.retain.unwrap_or(Retention {
            bytes: None,
            ..RETAIN
        });
        return match args.durability {
            Durability::Async => Ok(Keeper::in_memory(epoch, retention, recorder)?),
            Durability::Start => Err(CliError::NoState),
        };
    };
    let options = Options {
        directory,
        name: format!("exec-server {id}"),
        epoch,
        retention: args.retain.unwrap_or(RETAIN),
        now_unix_ns: unix_now_ns(),
    };
    let (keeper, OpenReport { set_aside, recovered }) = Keeper::open(&options, recorder)?;
    if let Some(set_aside) = set_aside {
        tell!("baton: {set_aside}");
    }
    if recovered.lost > 0 {
        tell!(
            "baton: this exec-server had ended before {} of its commands; they count as lost, {} were still running and were killed, {} were left \
             running",
            recovered.lost,
            recovered.killed.len(),
            recovered.left.len()
        );
    }
    Ok(keeper)
}

/// Tells the owner when the disk fails and when it is well again, for as long as it is polled.
pub(crate) async fn watch(keeper: &Keeper) {
    let mut health = keeper.health();
    loop {
        tokio::time::sleep(HEALTH_LOOK).await;
        for word in health.look() {
            tell!("baton: {word}");
        }
    }
}

/// Tells what was left when the server ended.
pub(crate) fn tell_left(report: &ShutdownReport) {
    if report.is_complete() {
        return;
    }
    let cause = report
        .cause
        .as_ref()
        .map_or_else(String::new, |cause| format!(": {cause}"));
    tell!(
        "baton: {} records could not be written before the end, and {} were given up before{cause}",
        report.left,
        report.dropped
    );
}
