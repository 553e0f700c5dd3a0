//! The output of a command that another call runs, read beside it.

use std::fmt;

use baton_channel::Channel;
use baton_proto::ProcessId;
use baton_proto::exec::process_event::Kind as EventKind;
use baton_proto::exec::run_request::Kind;
use baton_proto::exec::{Attach, RunRequest};
use baton_proto::limits::ANSWER_MAX;
use baton_rpc::exec::exec_client::ExecClient;
use baton_trace::call_end::CallEnd;
use baton_trace::outcome::Outcome;
use baton_trace::w3c::Traceparent;
use futures_util::stream;

use crate::error::RunError;
use crate::run::{Event, Run};

/// The events of a command with a grace, beside the call that runs it. It never blocks the command; output that the
/// exec-server does not keep any more is an [`Event::Gap`]. Dropping it does not affect the command.
pub struct Watch {
    channel: Channel,
    process: ProcessId,
    run: Run,
    last: u64,
}

impl Watch {
    /// Watches what follows the event `seen`.
    pub(crate) async fn begin(
        channel: Channel,
        process: ProcessId,
        seen: u64,
        since_unix_ns: u64,
    ) -> Result<Self, RunError> {
        let attach = RunRequest {
            kind: Some(Kind::Attach(Attach {
                process_id: process.0.to_vec().into(),
                after_seq: seen,
                watch: true,
                since_unix_ns,
                ..Attach::default()
            })),
        };
        let mut client = ExecClient::new(channel.clone()).max_decoding_message_size(ANSWER_MAX);
        let mut events = client.attach(stream::iter([attach])).await?.into_inner();
        match events.message().await?.and_then(|event| event.kind) {
            Some(EventKind::Attached(attached)) => Ok(Self {
                channel,
                process,
                run: Run::new(events, None, None, None).after(seen),
                last: attached.last_seq,
            }),
            _ => Err(RunError::Protocol("an Attach that was not answered by Attached")),
        }
    }

    /// Whether every event was read that there was when the watch began.
    pub fn is_caught_up(&self) -> bool {
        self.run.seen() >= self.last
    }

    /// The number of the last event that [`next`](Self::next) has returned, as [`Run::last_seq`].
    pub fn last_seq(&self) -> u64 {
        self.run.last_seq()
    }

    /// As [`Run::trace`].
    pub fn trace(&self) -> Option<Traceparent> {
        self.run.trace()
    }

    /// As [`Run::call_end`].
    pub fn call_end(&self) -> Option<CallEnd> {
        self.run.call_end()
    }

    /// As [`Run::outcome`].
    pub fn outcome(&self) -> Option<Outcome> {
        self.run.outcome()
    }

    /// As [`Run::output_bytes`].
    pub fn output_bytes(&self) -> Option<(u64, u64)> {
        self.run.output_bytes()
    }

    /// The next event; `None` after [`Event::Closed`]. If the session is lost, it watches again from there. Cancellation
    /// safe.
    pub async fn next(&mut self) -> Result<Option<Event>, RunError> {
        loop {
            if self.run.has_call() {
                match self.run.next().await {
                    Err(error) if error.is_lost_session() => {}
                    next => return next,
                }
            }
            let again = Self::begin(self.channel.clone(), self.process, self.run.seen(), 0).await?;
            self.run.continue_with(again.run);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}
