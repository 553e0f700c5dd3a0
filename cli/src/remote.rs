//! A client of the exec-server that the command line selects, with this user's key.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_core_client::warm::WarmBoardError;
use baton_core_client::{
    ChannelConfig, Client, ConnectError, CopyError, FilesError, OnWaiting, ProcessError, PublicKey, Records,
    RecordsError, RunError, SessionError, Ticket,
};
use baton_trace::recorder::Recorder;

use crate::args::RemoteArgs;
use crate::error::CliError;
use crate::hosts::{self, Hosts};
use crate::runtime::runtime;
use crate::{identity, relay_connection, signals, ticket_file};

/// Tells that connecting takes long.
pub(crate) fn tell_waiting(error: &ConnectError, left: Duration) {
    stderr_line!("baton: {error}; trying for {} s more", left.as_secs());
}

/// A client, and its public key for error messages.
pub(crate) struct RemoteClient {
    pub(crate) client: Client,
    public: PublicKey,
}

impl RemoteClient {
    /// Reads ticket and key. Does not connect. Prints a line when connecting takes long.
    pub(crate) fn new(args: RemoteArgs, recorder: Recorder) -> Result<Self, CliError> {
        Self::with_notice(args, recorder, Arc::new(tell_waiting))
    }

    /// As [`new`](Self::new), with another notice when connecting takes long.
    pub(crate) fn with_notice(
        args: RemoteArgs,
        recorder: Recorder,
        on_waiting: OnWaiting,
    ) -> Result<Self, CliError> {
        let ticket = ticket(args.ticket, args.ticket_file, args.host, |name| {
            std::env::var_os(name)
        })?;
        let roots = relay_connection::roots(args.relay_ca.as_deref())?;
        let key = identity::client_key(&identity::path(args.key, identity::CLIENT_KEY)?)?;
        let public = *key.public();
        if !args.quiet {
            relay_connection::warn_once(&ticket.relay_url);
        }
        let mut config = ChannelConfig {
            relay_roots: roots,
            recorder,
            on_waiting: Some(on_waiting),
            ..ChannelConfig::default()
        };
        if let Some(patience) = args.connect_timeout {
            config.connect_timeout = patience;
        }
        Ok(Self {
            client: Client::with_config(ticket, key, config),
            public,
        })
    }

    /// Adds the public line to the error of a key that is not allowed.
    pub(crate) fn explain(&self, error: CliError) -> CliError {
        match error {
            CliError::Ended { error, outcome } => self.explain(*error).with_outcome(Some(outcome)),
            CliError::Run(RunError::Session(SessionError::NotAllowed))
            | CliError::Copy(CopyError::Files(FilesError::Session(SessionError::NotAllowed)))
            | CliError::Records(RecordsError::Session(SessionError::NotAllowed))
            | CliError::Process(ProcessError::Session(SessionError::NotAllowed))
            | CliError::WarmBoard(WarmBoardError::Session(SessionError::NotAllowed)) => {
                CliError::NotAllowed {
                    line: identity::public_line(&self.public),
                }
            }
            other => other,
        }
    }
}

/// The ticket of the command line, or of the environment. An empty variable counts as unset.
pub(crate) fn ticket(
    given: Option<String>,
    file: Option<PathBuf>,
    host: Option<String>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Ticket, CliError> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(ticket) = given {
        return Ok(ticket.parse()?);
    }
    if let Some(file) = file {
        return ticket_file::read(&file);
    }
    if let Some(host) = host {
        return Ok(Hosts::new(identity::path(None, hosts::FILE)?).ticket(&host)?);
    }
    if let Some(ticket) = variable("BATON_TICKET") {
        return Ok(ticket_file::without_label(&ticket.to_string_lossy()).parse()?);
    }
    match variable("BATON_TICKET_FILE") {
        Some(file) => ticket_file::read(Path::new(&file)),
        None => Err(CliError::NoTicket),
    }
}

/// Queries the records of an exec-server, as [`with_client`].
pub(crate) fn query_records<T>(
    args: RemoteArgs,
    query: impl AsyncFnOnce(Records) -> Result<T, CliError>,
) -> Result<T, CliError> {
    with_client(args, async |client| query(client.records()).await)
}

/// Connects to an exec-server, makes some calls, and closes the session. A signal cancels the calls.
pub(crate) fn with_client<T>(
    args: RemoteArgs,
    calls: impl AsyncFnOnce(Client) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let runtime = runtime()?;
    let remote = RemoteClient::new(args, Recorder::off())?;
    let result = runtime.block_on(async {
        let result = tokio::select! {
            result = calls(remote.client.clone()) => result,
            signal = signals::stop() => Err(CliError::Interrupted { signal }),
        };
        remote.client.close().await;
        result
    });
    // Dropping the runtime would wait for a blocked write of standard output.
    runtime.shutdown_background();
    result.map_err(|error| remote.explain(error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use baton_core_client::TicketError;

    use super::*;

    #[test]
    fn what_the_command_line_names_counts_before_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ticket");
        // Each source contains an invalid ticket with a distinct error.
        std::fs::write(&path, "baton1:x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let nowhere = dir.path().join("nowhere");
        let set = |ticket: &'static str, file: PathBuf| {
            move |name: &str| match name {
                "BATON_TICKET" => Some(ticket.into()),
                _ => Some(file.clone().into()),
            }
        };
        let is = |found: Result<Ticket, CliError>, expected: TicketError| {
            assert!(
                matches!(found, Err(CliError::Ticket(error)) if error == expected),
                "{expected}"
            );
        };
        let both = set("x", nowhere.clone());
        is(
            ticket(Some("baton1:x".into()), None, None, &both),
            TicketError::Damaged,
        );
        is(
            ticket(None, Some(path.clone()), None, &both),
            TicketError::Damaged,
        );
        is(ticket(None, None, None, &both), TicketError::Prefix);
        is(ticket(None, None, None, set("", path)), TicketError::Damaged);
        let none = ticket(None, None, None, set("", PathBuf::new()));
        assert!(matches!(none, Err(CliError::NoTicket)));
    }
}
