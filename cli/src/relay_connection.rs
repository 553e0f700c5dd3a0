//! The connection to the relay: its trust roots, and a warning if it has no TLS.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use baton_channel::is_exposed;
use baton_core_client::RelayRoots;

use crate::error::CliError;
use crate::warned_hosts;

/// The trust roots for a relay dialled by `https`.
pub(crate) fn roots(relay_ca: Option<&Path>) -> Result<RelayRoots, CliError> {
    Ok(match file(relay_ca, std::env::var_os("BATON_RELAY_CA")) {
        Some(path) => RelayRoots::from_pem_file(&path)?,
        None => RelayRoots::default(),
    })
}

/// The CA file of the command line, or of the environment. An empty variable counts as unset.
fn file(given: Option<&Path>, variable: Option<OsString>) -> Option<PathBuf> {
    let variable = variable.filter(|value| !value.is_empty());
    given.map(Path::to_owned).or(variable.map(PathBuf::from))
}

/// A warning if the network can observe the connection to the relay. `None` for an invalid URL, which dialling reports.
pub(crate) fn warning(relay_url: &str) -> Option<&'static str> {
    is_exposed(relay_url).unwrap_or(false).then_some(
        "warning: the connection to the relay is in clear text: commands and output are encrypted end to end, but \
         the network sees sizes, times and the dial token; use a relay with TLS and an https:// URL",
    )
}

/// Prints the [`warning`] once per host: users ignore a message that precedes every command.
pub(crate) fn warn_once(relay_url: &str) {
    if let Some(warning) = warning(relay_url)
        && warned_hosts::is_first(relay_url)
    {
        stderr_line!("baton: {warning}; this warning appears once per host, and not with --quiet");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_names_no_authority() {
        assert_eq!(file(None, Some("".into())), None);
        assert_eq!(file(None, Some("ca.pem".into())), Some("ca.pem".into()));
        assert_eq!(
            file(Some(Path::new("own.pem")), Some("ca.pem".into())),
            Some("own.pem".into())
        );
    }
}
