//! The connection to the relay, as far as a person decides on it: whom to believe, and a warning where there is no TLS.

use std::path::Path;

use baton_channel::is_exposed;
use baton_client::RelayRoots;

use crate::error::CliError;

/// Whom to believe about a relay dialled by `https`.
pub(crate) fn roots(relay_ca: Option<&Path>) -> Result<RelayRoots, CliError> {
    Ok(match relay_ca {
        Some(path) => RelayRoots::from_pem_file(path)?,
        None => RelayRoots::default(),
    })
}

/// Warns if what the relay sees can be seen by the network as well. Says nothing of a URL that is none: dialling it does.
pub(crate) fn warn_if_exposed(relay_url: &str) {
    if is_exposed(relay_url).unwrap_or(false) {
        tell!(
            "baton: warning: the connection to the relay is in clear text: commands and output are encrypted end to end, but \
             the network sees sizes, times and the dial token; use a relay with TLS and an https:// URL"
        );
    }
}
