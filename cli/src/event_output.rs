//! Where the events of a command go: its output to this process's streams, or all events as JSON to standard output.

use std::cell::Cell;

use baton_core_client::{Event, ProcessId, RecordTo};
use baton_trace::text::counted;

use crate::cut_output::{CutOutput, Piece};
use crate::error::CliError;
use crate::event_json::{EventDetails, JsonLines};
use crate::output::{OutputStream, OutputStreams};
use crate::raw_terminal::line_start;

/// What is printed of a command.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EventForm {
    /// Every event, as JSON.
    pub(crate) json: bool,
    /// At most this many bytes of output.
    pub(crate) max_output: Option<usize>,
}

/// See the [module](self).
pub(crate) struct EventOutput {
    streams: OutputStreams,
    json: Option<JsonLines>,
    /// Knows the trace once the call is made.
    record_to: Option<RecordTo>,
    cut: Option<CutOutput>,
    /// The last byte that was printed ends a line.
    is_at_line_start: Cell<bool>,
}

impl EventOutput {
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn open(form: EventForm, lines: JsonLines) -> Result<Self, CliError> {
        Ok(Self {
            streams: OutputStreams::open()?,
            json: form.json.then_some(lines),
            record_to: None,
            cut: form.max_output.map(CutOutput::new),
            is_at_line_start: Cell::new(true),
        })
    }

    /// Takes the trace id of its lines from there.
    pub(crate) fn of_call(mut self, record_to: Option<RecordTo>) -> Self {
        self.record_to = record_to;
        self
    }

    /// Its lines name this process.
    pub(crate) fn of_process(&mut self, id: Option<ProcessId>) {
        if let Some(lines) = &mut self.json {
            lines.id = id;
        }
    }

    /// The lines, if events are printed as JSON.
    fn json(&mut self) -> Option<&mut JsonLines> {
        let lines = self.json.as_mut()?;
        if lines.trace_id.is_none() {
            lines.trace_id = self.record_to.as_ref().and_then(RecordTo::trace_id);
        }
        Some(lines)
    }

    /// Prints an event. Not cancellation safe: a dropped call may or may not have printed it.
    pub(crate) async fn event(&mut self, event: Event, details: EventDetails) -> Result<(), CliError> {
        let seq = details.seq;
        match event {
            Event::Stdout(data) => {
                let to = OutputStream::Stdout;
                return self.output(Piece { seq, to, data }).await;
            }
            Event::Stderr(data) => {
                let to = OutputStream::Stderr;
                return self.output(Piece { seq, to, data }).await;
            }
            Event::Closed { .. } => self.end().await?,
            Event::Gap { events } if self.json.is_none() => stderr_line!(
                "{}baton: {} of the command's output {} not kept and {} missing here",
                line_start(),
                counted(events, "piece", "pieces"),
                if events == 1 { "was" } else { "were" },
                if events == 1 { "is" } else { "are" },
            ),
            Event::Started { .. } | Event::Exited { .. } | Event::Gap { .. } | Event::Repeated { .. } => {}
        }
        self.line(|lines| lines.event(&event, details)).await
    }

    /// Prints output, or keeps it for the tail.
    pub(crate) async fn output(&mut self, piece: Piece) -> Result<(), CliError> {
        let piece = match &mut self.cut {
            Some(cut) => cut.take(piece),
            None => Some(piece),
        };
        match piece {
            Some(piece) => self.print(piece).await,
            None => Ok(()),
        }
    }

    async fn print(&mut self, Piece { seq, to, data }: Piece) -> Result<(), CliError> {
        if let Some(last) = data.last() {
            self.is_at_line_start.set(*last == b'\n');
        }
        match self.json().map(|lines| lines.output(to, &data, seq)) {
            Some(line) => self.streams.write(OutputStream::Stdout, line.into()).await,
            None => self.streams.write(to, data).await,
        }
    }

    /// Prints the tail of output that was limited, once.
    async fn end(&mut self) -> Result<(), CliError> {
        let Some((bytes, tail)) = self.cut.as_mut().map(CutOutput::finish) else {
            return Ok(());
        };
        if bytes > 0 {
            let told = match self.json() {
                Some(lines) => (OutputStream::Stdout, lines.cut(bytes)),
                None => {
                    let line_end = if self.is_at_line_start.get() { "" } else { "\n" };
                    let counted = counted(bytes, "byte of output is", "bytes of output are");
                    let line = format!("{line_end}baton: {counted} cut here, by --max-output\n");
                    (OutputStream::Stderr, line)
                }
            };
            self.streams.write(told.0, told.1.into()).await?;
        }
        for piece in tail {
            self.print(piece).await?;
        }
        Ok(())
    }

    /// Prints a line of JSON, if events are printed so.
    async fn line(&mut self, line: impl FnOnce(&JsonLines) -> String) -> Result<(), CliError> {
        match self.json().map(|lines| line(lines)) {
            Some(line) => self.streams.write(OutputStream::Stdout, line.into()).await,
            None => Ok(()),
        }
    }

    /// As [`OutputStreams::failed`].
    pub(crate) async fn failed(&mut self) -> CliError {
        self.streams.failed().await
    }

    /// Prints what is kept, and waits until everything is written. No event follows. Cancellation safe, but for output
    /// that was limited.
    pub(crate) async fn finish(&mut self) -> Result<(), CliError> {
        self.end().await?;
        self.streams.finish().await
    }
}
