//! The options of commands that read the history in place of trace files.

use std::path::PathBuf;
use std::time::Duration;

use super::RemoteArgs;
use super::values::{connect_timeout, host, utf8};

/// The exec-server whose history is read.
#[derive(clap::Args, Default)]
pub(crate) struct HistoryInputArgs {
    /// Read the commands that the exec-server has on record, like `baton history`, in place of trace files. They have
    /// the exec-server's stages only
    #[arg(long)]
    pub(crate) history: bool,
    /// Read the ticket of --history from this file [env: BATON_TICKET_FILE, BATON_TICKET]
    #[arg(long, value_name = "FILE", requires = "history")]
    ticket_file: Option<PathBuf>,
    /// The exec-server of --history, by the name that `baton host add` gave it
    #[arg(long, value_name = "NAME", value_parser = utf8(host), requires = "history", conflicts_with = "ticket_file")]
    host: Option<String>,
    /// The client key of --history [default: ~/.config/baton/client_key]
    #[arg(long, value_name = "FILE", requires = "history")]
    key: Option<PathBuf>,
    /// The certificates of the relay of --history [env: BATON_RELAY_CA]
    #[arg(long, value_name = "FILE", requires = "history")]
    relay_ca: Option<PathBuf>,
    /// Retry connecting for this long [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = utf8(connect_timeout), requires = "history")]
    connect_timeout: Option<Duration>,
}

impl HistoryInputArgs {
    /// These options, if the history is to be read.
    pub(crate) fn take(&mut self) -> Option<Self> {
        self.history.then(|| std::mem::take(self))
    }

    /// As the options of a command that connects.
    pub(crate) fn remote(self) -> RemoteArgs {
        RemoteArgs {
            ticket: None,
            ticket_file: self.ticket_file,
            host: self.host,
            key: self.key,
            relay_ca: self.relay_ca,
            connect_timeout: self.connect_timeout,
            quiet: true,
        }
    }
}
