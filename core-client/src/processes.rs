//! The processes of this client's key, whichever session started them.

use baton_proto::exec::{ListRequest, Process};
use baton_proto::limits::ANSWER_MAX;
use baton_proto::{ProcessId, Signal};
use baton_rpc::exec::exec_client::ExecClient;

use crate::client::Client;
use crate::error::ProcessError;
use crate::limits::PROCESSES_MAX;
use crate::signal::Signaller;

impl Client {
    /// The processes of this client's key that the exec-server has not reaped, in the order of their ids, which is that
    /// of their starts by their clients' clocks.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn processes(&self) -> Result<Vec<Process>, ProcessError> {
        let mut client = ExecClient::new(self.channel()).max_decoding_message_size(ANSWER_MAX);
        let mut all: Vec<Process> = Vec::new();
        loop {
            let last = all.last().map(|process| process.process_id.clone());
            let request = ListRequest {
                after: last.clone().unwrap_or_default(),
            };
            let page = client.list(request).await?.into_inner();
            let first = page.processes.first().map(|process| process.process_id.clone());
            // Otherwise a hostile exec-server could answer forever.
            if (first.is_none() && page.more) || (first.is_some() && first <= last) {
                return Err(ProcessError::Protocol("a page of processes that was sent before"));
            }
            all.extend(page.processes);
            if !page.more {
                return Ok(all);
            }
            if all.len() > PROCESSES_MAX {
                return Err(ProcessError::Protocol("more processes than an exec-server runs"));
            }
        }
    }

    /// Sends a signal to the process group of a process of this client's key, which need not be one of a
    /// [`Run`](crate::Run) of this client.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn signal(&self, process: ProcessId, signal: Signal) -> Result<(), ProcessError> {
        Signaller::new(self.channel(), process).signal(signal).await
    }
}
