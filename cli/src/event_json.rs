//! Events of a command as JSON, one a line, for programs.

use baton_core_client::{CallEnd, Event, ExitStatus, ProcessExit, ProcessId, Signal, TraceId};
use baton_trace::command::signal_name;
use baton_trace::outcome::{Fault, Outcome, StartFailure};
use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::output::OutputStream;

/// What all lines of one command have.
#[derive(Debug, Clone, Default)]
pub(crate) struct JsonLines {
    pub(crate) id: Option<ProcessId>,
    pub(crate) trace_id: Option<TraceId>,
}

/// What is known beside an event.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EventDetails {
    /// The number of the event.
    pub(crate) seq: u64,
    /// How the command ended, once it has exited.
    pub(crate) outcome: Option<Outcome>,
    /// The bytes of standard output and of standard error, once they are closed.
    pub(crate) bytes: Option<(u64, u64)>,
}

impl JsonLines {
    pub(crate) fn event(&self, event: &Event, details: EventDetails) -> String {
        let EventDetails { seq, outcome, bytes } = details;
        match event {
            Event::Repeated { attachable, attached } => self.line(
                "repeated",
                None,
                json!({"attachable": attachable, "attached": attached}),
            ),
            Event::Started { pid, user } => {
                self.line("started", Some(seq), json!({"pid": pid, "user": user}))
            }
            Event::Stdout(data) => self.output(OutputStream::Stdout, data, seq),
            Event::Stderr(data) => self.output(OutputStream::Stderr, data, seq),
            Event::Exited {
                status,
                observed_unix_ns,
            } => self.exited(seq, *status, outcome, *observed_unix_ns),
            Event::Gap { events } => self.line("gap", Some(seq), json!({"events": events})),
            Event::Closed { truncated, survivors } => {
                let (stdout, stderr) = bytes.unzip();
                let fields = json!({
                    "truncated": truncated,
                    "survivors": survivors,
                    "stdout_bytes": stdout,
                    "stderr_bytes": stderr,
                });
                self.line("closed", Some(seq), fields)
            }
        }
    }

    pub(crate) fn output(&self, stream: OutputStream, data: &[u8], seq: u64) -> String {
        let stream = match stream {
            OutputStream::Stdout => "stdout",
            OutputStream::Stderr => "stderr",
        };
        let fields = match std::str::from_utf8(data) {
            Ok(text) => json!({"stream": stream, "data": text}),
            Err(_) => json!({"stream": stream, "data_base64": BASE64.encode(data)}),
        };
        self.line("output", Some(seq), fields)
    }

    /// An exit that was waited for.
    pub(crate) fn exit(&self, exit: &ProcessExit) -> String {
        self.exited(exit.seq, exit.status, Some(exit.outcome()), exit.observed_unix_ns)
    }

    fn exited(&self, seq: u64, status: ExitStatus, outcome: Option<Outcome>, at_unix_ns: u64) -> String {
        let mut fields = match status {
            ExitStatus::Code(code) => json!({"code": code}),
            ExitStatus::Signal { signal, core_dumped } => {
                json!({"signal": signal_name(signal), "core_dumped": core_dumped})
            }
        };
        tell_outcome(&mut fields, outcome.as_ref());
        let call_end = outcome.and_then(|outcome| outcome.call_end());
        fields["killed_because"] = call_end.map(CallEnd::name).into();
        fields["exited_unix_ns"] = at_unix_ns.into();
        self.line("exited", Some(seq), fields)
    }

    /// Output between what is before and after this line is not printed.
    pub(crate) fn cut(&self, bytes: u64) -> String {
        self.line("cut", None, json!({"bytes": bytes}))
    }

    /// The command was started, and runs without a client.
    pub(crate) fn detached(&self) -> String {
        self.line("detached", None, json!({}))
    }

    /// The signal was taken.
    pub(crate) fn signaled(&self, signal: Signal) -> String {
        self.line("signaled", None, json!({"signal": signal.name()}))
    }

    /// Baton has failed. `outcome`: of the command, where there was one.
    pub(crate) fn failed(&self, error: &CliError, outcome: Option<Outcome>) -> String {
        let message = match error.advice() {
            Some(advice) => format!("{error}; {advice}"),
            None => error.to_string(),
        };
        let mut fields = json!({"message": message, "exit_code": error.exit_code()});
        tell_outcome(&mut fields, outcome.as_ref());
        let start_failure = outcome.and_then(|outcome| outcome.start_failure());
        fields["start_failure"] = start_failure.map(StartFailure::as_str).into();
        self.line("failed", None, fields)
    }

    fn line(&self, event: &str, seq: Option<u64>, fields: Value) -> String {
        let mut line = Map::new();
        line.insert("event".into(), event.into());
        if let Some(seq) = seq {
            line.insert("seq".into(), seq.into());
        }
        if let Some(id) = self.id {
            line.insert("id".into(), id.to_string().into());
        }
        if let Some(trace_id) = self.trace_id {
            line.insert("trace_id".into(), trace_id.to_string().into());
        }
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        // Control characters are escaped, so that it is one line for a terminal too.
        crate::record::line(&Value::Object(line))
    }
}

/// The words that records and spans have too.
fn tell_outcome(fields: &mut Value, outcome: Option<&Outcome>) {
    fields["outcome"] = outcome.map(Outcome::as_str).into();
    fields["fault"] = outcome.and_then(Outcome::fault).map(Fault::as_str).into();
}
