//! A server's unfinished record.

use std::sync::Arc;

use baton_export::clock;
use baton_mux::{SentStamps, rpc_stage, terminal_stages};
use baton_trace::call::ServerCall;
use baton_trace::record::CallRecord;
use baton_trace::recorder::Recorder;

/// A server's record that lacks the handler's stages and the stamps of the last data frame. It is finished exactly
/// once: with both, or without the stamps if the call or its session ends first. The parent span of the handler's and
/// the process's spans is exported in both cases.
pub(crate) struct ServerDraft {
    /// The record, without stages, and the call. Taken when the record is finished.
    unfinished: Option<(CallRecord, Arc<ServerCall>)>,
    recorder: Recorder,
}

impl ServerDraft {
    pub(crate) fn new(record: CallRecord, call: Arc<ServerCall>, recorder: &Recorder) -> Self {
        Self {
            unfinished: Some((record, call)),
            recorder: recorder.clone(),
        }
    }

    /// Adds the writer's stamps and passes the record to the recorder.
    pub(crate) fn complete(mut self, last_data: &SentStamps) {
        self.finish(Some(last_data));
    }

    fn finish(&mut self, last_data: Option<&SentStamps>) {
        let Some((mut record, call)) = self.unfinished.take() else {
            return;
        };
        let cut_short = || SentStamps {
            sealed: Some(clock::now()),
            ..SentStamps::default()
        };
        let sent = last_data.copied().unwrap_or_else(cut_short);
        let recorder = self.recorder.clone();
        let command = call.command().cloned();
        call.on_complete(move |stages| {
            // Stages that end after a call was cut short belong to it too.
            record.stages.reserve_exact(stages.len() + 3);
            record
                .stages
                .push(rpc_stage(&record.anchor, &sent, stages.iter()));
            record.stages.extend(terminal_stages(&record.anchor, &sent));
            record.stages.extend(stages);
            record.command = command.map(|command| Box::new(command.summary()));
            recorder.finish(record);
        });
    }
}

impl Drop for ServerDraft {
    fn drop(&mut self) {
        self.finish(None);
    }
}
