//! Commands to which no call is attached.

use std::sync::{Arc, OnceLock};

use baton_channel::Envelope;
use baton_proto::ProcessId;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{ProcessEvent, Start};
use bytes::Bytes;
use tonic::Streaming;

use super::{CallExtensions, Client, Described};
use crate::command::Command;
use crate::error::RunError;
use crate::limits::START_ATTEMPTS;

impl Client {
    /// Starts a command without standard input that no client is attached to: it runs to its end, whatever becomes of
    /// this client, and its grace has no end. Returns the id of its process, also if a command with this
    /// [`id`](Command::id) was started before; [`attach`](Self::attach), [`watch`](Self::watch) and [`wait`](Self::wait)
    /// take it. The [timeout](Command::timeout) ends it.
    ///
    /// Without [`OnFull::Drop`](crate::OnFull::Drop) a command that writes much blocks until its output is read. If the
    /// session is lost before the answer, the start is repeated: a process of one id never runs twice. Dropping the
    /// future may kill the command, or start it.
    ///
    /// # Errors
    /// [`RunError::NoDetached`]; [`RunError::Start`] with
    /// [`NotDetachable`](crate::StartFailure::NotDetachable) if this client's commands may not outlive their session.
    pub async fn start_detached(&self, command: Command) -> Result<ProcessId, RunError> {
        let command = command.detached();
        self.check_features(&command).await?;
        let user = self.checked_user(command.user.as_deref()).await?;
        let names = command.names();
        let (parent, timeout) = (command.parent.clone(), command.timeout);
        let Described {
            start,
            record_to,
            record: _,
            traced_command,
        } = self.describe(command, false);
        let process = ProcessId::try_from(&start.process_id[..]);
        let process = process.map_err(|_| RunError::Protocol("a process id that is none"))?;
        let (epoch, envelope) = (Arc::default(), Envelope::new());
        let again = || CallExtensions {
            timeout,
            user: user.clone(),
            parent: parent.clone(),
            envelope: Some(envelope.clone()),
            ..CallExtensions::default()
        };
        let mut extensions = CallExtensions {
            record_to,
            traced_command,
            ..again()
        };
        let mut attempt = 1;
        loop {
            match self.start_and_leave(start.clone(), &epoch, extensions).await {
                Ok(()) => return Ok(process),
                Err(error) if error.is_lost_session() && attempt < START_ATTEMPTS => extensions = again(),
                Err(error) => return Err(error.naming(names)),
            }
            attempt += 1;
        }
    }

    /// Waits until the command has started, or was started before.
    async fn start_and_leave(
        &self,
        start: Start,
        epoch: &Arc<OnceLock<Bytes>>,
        extensions: CallExtensions,
    ) -> Result<(), RunError> {
        let requests = self.requests(start, None, Some(epoch));
        let mut events: Streaming<ProcessEvent> = self.send(extensions.request(requests)).await?;
        match events.message().await?.and_then(|event| event.kind) {
            Some(Kind::Started(_)) => {
                // The record of the call is complete with its trailers.
                while events.message().await?.is_some() {}
                Ok(())
            }
            Some(Kind::Repeated(_)) => Ok(()),
            _ => Err(RunError::Protocol(
                "a detached start that was not answered by Started",
            )),
        }
    }
}
