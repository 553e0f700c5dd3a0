//! Builds call records from stamps, and finishes each exactly once.
//!
//! ```text
//! client: Call ─► ClientDraft, in a Recording ─► CallRecord        exec-server: ServerDraft ─► CallRecord
//!                     └─ session lost ─► Envelope ─► the call that continues the work
//! ```
//!
//! * [`draft`]: a client's record before its end; [`placing`]: where the server's stages are on the client's clock;
//! * [`envelope`]: one record of several calls; [`calls`]: which of them the server's stages belong to;
//! * [`server_draft`]: a server's record.

use std::sync::Arc;
use std::time::Instant;

use baton_export::clock;
use baton_proto::exec::ExecError;
use baton_trace::command::CallProgress;
use baton_trace::outcome::{Outcome, StartFailure};
use baton_trace::recorder::Recorder;
use baton_trace::status::RpcStatus;
use http::HeaderMap;

use self::envelope::Parked;
use super::session_state::StreamHandle;

pub(crate) use self::calls::RecordCalls;
pub(crate) use self::draft::{CallDetails, ClientDraft, ConnectTimes};
pub use self::envelope::Envelope;
pub(crate) use self::server_draft::ServerDraft;

mod calls;
mod draft;
mod envelope;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod placing;
mod server_draft;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

/// The client's record of a call. It is finished exactly once: with the call's status, or as cancelled when the call is
/// dropped, in any state.
#[derive(Default)]
pub(super) struct Recording {
    /// Absent if neither the recorder nor the caller uses the record.
    pub(super) draft: Option<Box<ClientDraft>>,
    recorder: Recorder,
    /// Present once the call is sent.
    stream: Option<Arc<StreamHandle>>,
    /// Another call may continue the work of this one.
    envelope: Option<Envelope>,
}

impl Recording {
    pub(super) fn new(
        draft: Option<Box<ClientDraft>>,
        recorder: &Recorder,
        envelope: Option<Envelope>,
    ) -> Self {
        Self {
            draft,
            recorder: recorder.clone(),
            stream: None,
            envelope,
        }
    }

    /// Notes the time at which data was handed to the caller.
    pub(super) fn handed(&mut self, now: Instant) {
        if let Some(draft) = &mut self.draft {
            draft.handed = Some(now);
            if let Some(loss) = draft.losses.last_mut() {
                loss.recovered.get_or_insert(now);
            }
        }
    }

    /// Notes the stream of a call that was sent.
    pub(super) fn sent(&mut self, stream: &Arc<StreamHandle>, connect: Option<ConnectTimes>) {
        if let Some(draft) = &mut self.draft {
            if draft.losses.is_empty() {
                draft.connect = connect;
            }
            self.stream = Some(Arc::clone(stream));
        }
    }

    /// Notes why the command's call was not sent.
    pub(super) fn not_sent(&self, failure: StartFailure) {
        let command = self
            .draft
            .as_ref()
            .and_then(|draft| draft.details.command.as_ref());
        if let Some(command) = command {
            command.ended(Outcome::FailedToStart(failure));
        }
    }

    /// Notes why the server refused the command, if these headers or trailers tell.
    pub(super) fn refused(&self, headers: &HeaderMap) {
        let command = self
            .draft
            .as_ref()
            .and_then(|draft| draft.details.command.as_ref());
        let (Some(command), true) = (command, headers.contains_key("grpc-status-details-bin")) else {
            return;
        };
        let status = tonic::Status::from_header_map(headers);
        if let Some(error) = status.and_then(|status| ExecError::from_details(status.details())) {
            command.failed(error.kind());
        }
    }

    /// Builds the record when the call has ended, and passes it to the recorder and the caller. Only the first call has
    /// an effect. `timings` are the encoded timings from the server's trailers; `None`: the call was cut short before
    /// they arrived.
    pub(super) fn finish(&mut self, timings: Option<&[u8]>, status: i32) {
        let Some(mut draft) = self.draft.take() else {
            return;
        };
        let progress = match &self.stream {
            None if draft.losses.is_empty() => CallProgress::NotSent,
            // The call before was sent.
            None => CallProgress::CutShort,
            Some(_) if draft.details.is_answered => CallProgress::Answered,
            Some(stream) => stream.unanswered(),
        };
        let status = RpcStatus(status);
        let stream = self.stream.take();
        let is_sent = stream.is_some();
        let is_lost = match &stream {
            Some(stream) => stream.session().ended().is_some_and(|error| error.is_loss()),
            // The call before was lost, and this one was not sent.
            None => !draft.losses.is_empty(),
        };
        let (stamps, clock) = stream.map_or_else(Default::default, |stream| stream.measured());
        let is_lost = is_lost && timings.is_none();
        // A call that continued the work and failed may be followed by another one, which starts it again.
        let has_failed = !draft.losses.is_empty() && status != RpcStatus(0);
        if (is_lost || has_failed)
            && let Some(envelope) = self.envelope.take()
        {
            if is_lost {
                draft.lose(is_sent.then_some(&stamps), clock::now());
            }
            envelope.park(Parked {
                unfinished: Some((draft, progress, status)),
                recorder: self.recorder.clone(),
            });
            return;
        }
        draft.finish(&stamps, timings, clock, progress, status, &self.recorder);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.finish(None, tonic::Code::Cancelled.into());
    }
}
