//! A client of the exec-server that the command line names, with our key.

use baton_client::{Client, PublicKey, Records, RecordsError, RunError, SessionError, Ticket};
use baton_trace::recorder::Recorder;

use crate::args::RemoteArgs;
use crate::command::runtime;
use crate::error::CliError;
use crate::{identity, outer, signals, ticket_file};

/// See the [module](self).
pub(crate) struct Remote {
    pub(crate) client: Client,
    public: PublicKey,
}

impl Remote {
    /// Reads ticket and key. Connects to nothing yet.
    pub(crate) fn new(args: RemoteArgs, recorder: Recorder) -> Result<Self, CliError> {
        let ticket: Ticket = match (args.ticket, args.ticket_file) {
            (Some(ticket), _) => ticket.parse()?,
            (None, Some(file)) => ticket_file::read(&file)?,
            (None, None) => return Err(CliError::NoTicket),
        };
        let roots = outer::roots(args.relay_ca.as_deref())?;
        let key = identity::client_key(&identity::path(args.key, identity::CLIENT_KEY)?)?;
        let public = *key.public();
        outer::warn_if_exposed(&ticket.relay_url);
        Ok(Self {
            client: Client::with_recorder(ticket, key, recorder).relay_roots(roots),
            public,
        })
    }

    /// Says what to do about a key that is not allowed.
    pub(crate) fn explain(&self, error: CliError) -> CliError {
        match error {
            CliError::Run(RunError::Session(SessionError::NotAllowed))
            | CliError::Records(RecordsError::Session(SessionError::NotAllowed)) => CliError::NotAllowed {
                line: identity::public_line(&self.public),
            },
            other => other,
        }
    }
}

/// Asks an exec-server for records, and says goodbye.
pub(crate) fn ask<T>(
    args: RemoteArgs,
    ask: impl AsyncFnOnce(Records) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let runtime = runtime()?;
    let remote = Remote::new(args, Recorder::off())?;
    let answer = runtime.block_on(async {
        let answer = tokio::select! {
            answer = ask(remote.client.records()) => answer,
            signal = signals::stop() => Err(CliError::Interrupted { signal }),
        };
        remote.client.close().await;
        answer
    });
    answer.map_err(|error| remote.explain(error))
}
