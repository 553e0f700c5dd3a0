//! Checks that every execution was exported.

use serde_json::{Value, json};

/// The numbers of sampled executions and of received spans.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exports {
    /// Executions that were sampled, warm-ups included.
    pub(crate) executions: f64,
    /// Export requests that the sink received.
    pub(crate) batches: f64,
    /// Spans that the sink received.
    pub(crate) spans: f64,
    /// Spans of kind CLIENT, one per call.
    pub(crate) client_spans: f64,
    /// Spans of kind SERVER, one per call.
    pub(crate) server_spans: f64,
}

impl Exports {
    /// Whether client and exec-server each exported every execution once.
    pub(crate) fn are_complete(&self) -> bool {
        self.client_spans == self.executions && self.server_spans == self.executions
    }

    pub(crate) fn print(&self) {
        let Self {
            executions,
            batches,
            spans,
            client_spans,
            server_spans,
        } = self;
        println!(
            "{executions} executions were sampled; the sink received {spans} spans in {batches} batches, \
             {client_spans} of them the client's envelope and {server_spans} the exec-server's: {}\n",
            if self.are_complete() {
                "everything was exported"
            } else {
                "NOT EVERYTHING WAS EXPORTED, so the rows of tracing show too little"
            }
        );
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "executions": self.executions,
            "batches": self.batches,
            "spans": self.spans,
            "client_spans": self.client_spans,
            "server_spans": self.server_spans,
            "complete": self.are_complete(),
        })
    }
}
