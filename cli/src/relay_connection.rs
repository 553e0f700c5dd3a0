//! The connection to the relay, as far as a person decides on it: whom to believe, and a warning where there is no TLS.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use baton_channel::is_exposed;
use baton_core_client::RelayRoots;

use crate::error::CliError;
use crate::warned_hosts;

/// Whom to believe about a relay dialled by `https`.
pub(crate) fn roots(relay_ca: Option<&Path>) -> Result<RelayRoots, CliError> {
    Ok(match file(relay_ca, std::env::var_os("BATON_RELAY_CA")) {
        Some(path) => RelayRoots::from_pem_file(&path)?,
        None => RelayRoots::default(),
    })
}

/// What the command line says, else the environment. An empty variable is none.
fn file(given: Option<&Path>, variable: Option<OsString>) -> Option<PathBuf> {
    let variable = variable.filter(|value| !value.is_empty());
    given.map(Path::to_owned).or(variable.map(PathBuf::from))
}

/// Says so if what the relay sees can be seen by the network as well. Says nothing of a URL that is none: dialling it does.
pub(crate) fn warning(relay_url: &str) -> Option<&'static str> {
    is_exposed(relay_url).unwrap_or(false).then_some(
        "warning: the connection to the relay is in clear text: commands and output are encrypted end to end, but \
         the network sees sizes, times and the dial token; use a relay with TLS and an https:// URL",
    )
}

/// Tells a client's user the same, once for each host: a sentence before every command is one that nobody reads.
pub(crate) fn warn_once(relay_url: &str) {
    if let Some(warning) = warning(relay_url)
        && warned_hosts::is_first(relay_url)
    {
        stderr_line!("baton: {warning}; this is told once for each host, and not with --quiet");
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
