//! The paths of keys and lists, and the line that allows a client.

use std::path::{Path, PathBuf};

use baton_core_client::{PublicKey, Seed, StaticKey};

use crate::error::CliError;

pub(crate) const CLIENT_KEY: &str = "client_key";
pub(crate) const EXEC_SERVER_KEY: &str = "exec_server_key";
pub(crate) const ALLOWED_CLIENTS: &str = "allowed_clients";

/// `given`, or a file in Baton's configuration directory (`$XDG_CONFIG_HOME/baton`, or `~/.config/baton`).
pub(crate) fn path(given: Option<PathBuf>, name: &str) -> Result<PathBuf, CliError> {
    if let Some(given) = given {
        return Ok(given);
    }
    let xdg = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let config = xdg.or_else(|| {
        std::env::home_dir()
            .filter(|home| !home.as_os_str().is_empty())
            .map(|home| home.join(".config"))
    });
    Ok(config.ok_or(CliError::NoHome)?.join("baton").join(name))
}

/// The client's key. Created at first use, with a message that contains its public line.
pub(crate) fn client_key(path: &Path) -> Result<StaticKey, CliError> {
    let (seed, created) = Seed::read_or_create(path)?;
    let key = seed.client_key()?;
    if created {
        stderr_line!(
            "baton: created the client key {}; its public line, for an exec-server's allow-list, is:",
            path.display()
        );
        stderr_line!("{}", public_line(key.public()));
    }
    Ok(key)
}

/// The line that allows a client: key, name, trust.
pub(crate) fn public_line(key: &PublicKey) -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "client".into());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // A name in the allow-list has no white space and no #.
    let name: String = format!("{user}@{host}")
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '#' && !c.is_control())
        .collect();
    format!("{key} {name} clamp")
}
