//! The metadata of an exec-server: its directory, and log lines about it.

use std::path::PathBuf;

use baton_metadata::store::retention::Retention;
use baton_metadata::store::sqlite::{RecoveryReport, StoreOptions};
use baton_metadata::{Health, Metadata, OpenReport, ShutdownReport};
use baton_proto::{Epoch, ExecServerId};
use baton_trace::record::unix_now_ns;
use baton_trace::recorder::Recorder;
use baton_trace::text::counted;

use crate::args::{Durability, ExecServerArgs};
use crate::error::CliError;
use crate::limits::{HEALTH_INTERVAL, RETAIN_AGE, RETAIN_BYTES};

/// The default of `--retain`.
const RETAIN: Retention = Retention {
    age: Some(RETAIN_AGE),
    bytes: Some(RETAIN_BYTES),
};

/// The directory of `--state`; `None` for `none`. By default a directory for each exec-server in
/// [Baton's state directory](own_state_directory).
fn directory(
    given: Option<PathBuf>,
    xdg: Option<PathBuf>,
    home: Option<PathBuf>,
    id: ExecServerId,
) -> Result<Option<PathBuf>, CliError> {
    match given {
        Some(given) if given.as_os_str() == "none" => return Ok(None),
        Some(given) => return Ok(Some(given)),
        None => {}
    }
    let own = own_state_directory(xdg, home).ok_or(CliError::NoHome)?;
    Ok(Some(own.join(id.to_string())))
}

/// Baton's state directory: `$XDG_STATE_HOME/baton`, or `~/.local/state/baton`.
pub(crate) fn own_state_directory(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    // By the XDG base directory specification, a relative path counts as unset.
    let xdg = xdg.filter(|path| path.is_absolute());
    let state = xdg.or_else(|| {
        home.filter(|home| !home.as_os_str().is_empty())
            .map(|home| home.join(".local/state"))
    });
    Some(state?.join("baton"))
}

/// Opens the metadata, and logs what an earlier run left.
pub(crate) fn open(
    args: &ExecServerArgs,
    id: ExecServerId,
    epoch: Epoch,
    recorder: Recorder,
) -> Result<Metadata, CliError> {
    let xdg = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let Some(directory) = directory(args.state.clone(), xdg, std::env::home_dir(), id)? else {
        // Without `--retain` the in-memory store uses its own default size.
        let retention = args.retain.unwrap_or(Retention {
            bytes: None,
            ..RETAIN
        });
        return match args.durability {
            Durability::Async => Ok(Metadata::in_memory(epoch, retention)?),
            Durability::Start => Err(CliError::NoState),
        };
    };
    let options = StoreOptions {
        directory,
        name: format!("exec-server {id}"),
        epoch,
        retention: args.retain.unwrap_or(RETAIN),
        now_unix_ns: unix_now_ns(),
    };
    let (metadata, OpenReport { set_aside, recovered }) = Metadata::open(&options, recorder)?;
    if let Some(set_aside) = set_aside {
        log_line!("{set_aside}");
    }
    if recovered.lost > 0 {
        log_line!("{}", lost(&recovered));
    }
    Ok(metadata)
}

fn lost(recovered: &RecoveryReport) -> String {
    let were = |count: usize| counted(count as u64, "was", "were");
    format!(
        "this exec-server had ended before {}; {} still running and killed, {} left running",
        counted(
            recovered.lost,
            "of its commands, which counts as lost",
            "of its commands, which count as lost"
        ),
        were(recovered.killed.len()),
        were(recovered.left.len())
    )
}

/// Logs when the disk fails and when it recovers, until it is dropped.
pub(crate) async fn log_health(mut health: Health) {
    loop {
        tokio::time::sleep(HEALTH_INTERVAL).await;
        for event in health.look() {
            log_line!("{event}");
        }
    }
}

/// Logs the records that were not written when the server ended.
pub(crate) fn log_unwritten(report: &ShutdownReport) {
    if report.is_complete() {
        return;
    }
    let cause = report
        .cause
        .as_ref()
        .map_or_else(String::new, |cause| format!(": {cause}"));
    log_line!("{}{cause}", unwritten(report));
}

fn unwritten(report: &ShutdownReport) -> String {
    format!(
        "{} not be written before the end, and {} dropped before",
        counted(report.left as u64, "record could", "records could"),
        counted(report.dropped, "was", "were")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_of_as_one() {
        let of = |lost_count| {
            lost(&RecoveryReport {
                lost: lost_count,
                ..RecoveryReport::default()
            })
        };
        assert!(
            of(1).contains("before 1 of its commands, which counts as lost; 0 were"),
            "{}",
            of(1)
        );
        assert!(
            of(2).contains("before 2 of its commands, which count as lost"),
            "{}",
            of(2)
        );
        let of = |count| {
            unwritten(&ShutdownReport {
                left: count,
                dropped: count as u64,
                cause: None,
            })
        };
        assert_eq!(
            of(1),
            "1 record could not be written before the end, and 1 was dropped before"
        );
        assert_eq!(
            of(0),
            "0 records could not be written before the end, and 0 were dropped before"
        );
    }

    #[test]
    fn the_state_is_where_it_was_said_or_where_xdg_says_or_below_the_home() {
        let id = ExecServerId([7; 16]);
        let place = |given: Option<&str>, xdg: Option<&str>, home: Option<&str>| {
            let path = |path: Option<&str>| path.map(PathBuf::from);
            directory(path(given), path(xdg), path(home), id)
                .ok()
                .map(|place| place.map(|place| place.display().to_string()))
        };
        let own = |base: &str| Some(Some(format!("{base}/baton/{id}")));
        assert_eq!(
            place(Some("s"), Some("/xdg"), Some("/home")),
            Some(Some("s".into()))
        );
        assert_eq!(place(Some("none"), Some("/xdg"), Some("/home")), Some(None));
        assert_eq!(place(None, Some("/xdg"), Some("/home")), own("/xdg"));
        assert_eq!(place(None, Some("xdg"), Some("/home")), own("/home/.local/state"));
        assert_eq!(place(None, None, Some("/home")), own("/home/.local/state"));
        assert_eq!(place(None, None, Some("")), None);
        assert_eq!(place(None, None, None), None);
    }
}
