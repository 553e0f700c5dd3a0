//! A record drawn for a terminal.
//!
//! ```text
//! trace 4bf92f3577b34da6a3ce929d0e0e4736 · 9.8 ms · 22 stages
//!  remainder 0.10 ms (1 %)
//!  dispatch          20 µs  ▏
//!  rpc              9.3 ms   ▕███████████████████████████████████████▏
//!    process        9.1 ms   ▕██████████████████████████████████████▏
//! ```
//!
//! The position of a bar is its time within the envelope. A stage shorter than one cell is a thin mark. `~` marks a
//! stage whose position was estimated. The last row is the remainder.
//!
//! In a narrow terminal the header takes several lines, bars are omitted, and names are truncated.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use opentelemetry::TraceId;

use super::coverage::{Coverage, Interval};
use super::{tree, units};
use crate::clock::ClockOffset;
use crate::record::{CallRecord, StageRecord};
use crate::stage::transport::{CLIENT_SEAL, RPC};
use crate::status;
use crate::text::printable;

/// Bars narrower than this are not drawn.
const MIN_BAR_CELLS: usize = 8;

/// Names are not truncated below this; a narrower terminal wraps.
const MIN_NAME_COLUMNS: usize = 12;

/// The terminal that a waterfall is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaterfallStyle {
    /// Columns of the terminal.
    pub width: usize,
    /// Use ANSI colours.
    pub color: bool,
    /// Use only ASCII.
    pub ascii: bool,
}

impl Default for WaterfallStyle {
    fn default() -> Self {
        Self {
            width: 80,
            color: false,
            ascii: false,
        }
    }
}

/// Draws a client's record: the header, one line for every stage, and the remainder; then the command's family, the
/// server's clock and the status, if there is something to report. Ends with a line feed.
pub fn waterfall(record: &CallRecord, style: &WaterfallStyle) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = WaterfallLayout::new(record, style).draw(&mut out);
    out
}

struct WaterfallLayout<'a> {
    record: &'a CallRecord,
    coverage: Coverage,
    glyphs: Glyphs,
    paint: Paint,
    lines: Vec<Line>,
    name_columns: usize,
    duration_columns: usize,
    /// 0: there are no bars.
    bar_cells: usize,
    width: usize,
}

/// A stage row before alignment.
struct Line {
    name: String,
    duration: String,
    stage: StageRecord,
}

const REMAINDER: &str = "remainder";
const MIN_DURATION_COLUMNS: usize = 7;
/// The margin, and the space before the durations.
const TEXT_FRAME: usize = 2;
/// The space before a bar, and its two edges.
const BAR_FRAME: usize = 3;

impl<'a> WaterfallLayout<'a> {
    fn new(record: &'a CallRecord, style: &WaterfallStyle) -> Self {
        let line = |row: &tree::StageRow<'_>| {
            let mut name = format!("{}{}", "  ".repeat(row.depth), tree::label(row.stage.stage));
            if row.stage.attempt > 0 {
                let _ = write!(name, " ({})", u16::from(row.stage.attempt) + 1);
            }
            let mark = if row.stage.estimated { "~" } else { "" };
            Line {
                name,
                duration: format!("{mark}{}", units::duration(row.stage.duration_ns(), style.ascii)),
                stage: *row.stage,
            }
        };
        let lines: Vec<Line> = tree::rows(record).iter().map(line).collect();
        let names = lines.iter().map(|line| line.name.len());
        let name_columns = names.max().unwrap_or(0).max(REMAINDER.len());
        let durations = lines.iter().map(|line| line.duration.chars().count());
        let duration_columns = durations.max().unwrap_or(0).max(MIN_DURATION_COLUMNS);
        let room = style.width.saturating_sub(duration_columns + TEXT_FRAME);
        let name_columns = name_columns.min(room.max(MIN_NAME_COLUMNS));
        let text = name_columns + duration_columns + TEXT_FRAME + BAR_FRAME;
        let bar_cells = style.width.saturating_sub(text);
        Self {
            record,
            coverage: Coverage::of(record),
            glyphs: if style.ascii { ASCII } else { BLOCKS },
            paint: Paint(style.color),
            lines,
            name_columns,
            duration_columns,
            bar_cells: if bar_cells < MIN_BAR_CELLS { 0 } else { bar_cells },
            width: style.width,
        }
    }

    fn draw(&self, out: &mut String) -> fmt::Result {
        self.header(out)?;
        for line in &self.lines {
            let row = format!(
                " {:<names$} {:>durations$} {}",
                clip(&line.name, self.name_columns, self.glyphs.ascii),
                line.duration,
                self.bar(&line.stage),
                names = self.name_columns,
                durations = self.duration_columns,
            );
            self.paint
                .line(out, if line.stage.estimated { DIM } else { "" }, row.trim_end())?;
        }
        self.remainder(out)?;
        self.family(out)?;
        self.missing_server_stages(out)?;
        if let Some(offset) = self.record.clock {
            self.clock(out, offset)?;
        }
        self.status(out)
    }

    fn header(&self, out: &mut String) -> fmt::Result {
        // The server may withhold the trace id from the client.
        let trace: TraceId = self.record.context.trace_id;
        let trace = (trace != TraceId::INVALID).then(|| format!("trace {trace}"));
        let figures = [
            self.duration(self.coverage.envelope.duration_ns()),
            format!("{} stages", self.lines.len()),
            format!("remainder {}", self.remainder_text()),
        ];
        let parts: Vec<_> = trace.into_iter().chain(figures).collect();
        for line in folded(&parts, self.glyphs.separator, self.width) {
            self.paint.line(out, BOLD, &line)?;
        }
        Ok(())
    }

    fn remainder(&self, out: &mut String) -> fmt::Result {
        // Without bars the share does not fit either; the header shows it.
        let share = match self.bar_cells {
            0 => String::new(),
            _ => format!("  ({})", self.remainder_share()),
        };
        let row = format!(
            " {REMAINDER:<names$} {:>durations$}{share}",
            self.duration(self.coverage.remainder_ns()),
            names = self.name_columns,
            durations = self.duration_columns,
        );
        self.paint.line(out, "", &row)
    }

    /// The command's family, and the reasons of its stages that have no row.
    fn family(&self, out: &mut String) -> fmt::Result {
        let Some(family) = self.record.command.as_deref().and_then(|command| command.family) else {
            return Ok(());
        };
        let name = format!(" family {},", family.family.name());
        let remainder = format!("{REMAINDER} {}", self.duration(family.remainder_ns));
        let unavailable = family.unavailable().map(|(stage, reason)| {
            let reason = format!("unavailable: {}", reason.name());
            [format!(" {}", tree::label(stage)), reason]
        });
        let hints = family.unavailable().filter_map(|(_, reason)| {
            let hint = reason.hint(family.family)?;
            let mark = if self.glyphs.ascii { "..." } else { "…" };
            Some(vec![format!(" {}", hint.replace('…', mark))])
        });
        let lines = std::iter::once([name, remainder]).chain(unavailable);
        for parts in lines.map(Vec::from).chain(hints) {
            for line in folded(&parts, " ", self.width) {
                self.paint
                    .line(out, "", &clip(&line, self.width, self.glyphs.ascii))?;
            }
        }
        Ok(())
    }

    fn missing_server_stages(&self, out: &mut String) -> fmt::Result {
        if lacks_server_stages(self.record) {
            self.paint
                .line(out, "", " the server's stages did not come back")?;
        }
        Ok(())
    }

    fn clock(&self, out: &mut String, offset: ClockOffset) -> fmt::Result {
        let sign = if offset.offset_ns < 0 { '-' } else { '+' };
        let parts = [
            format!(
                " server clock {sign}{}",
                self.duration(offset.offset_ns.unsigned_abs())
            ),
            format!("{} {}", self.glyphs.plus_minus, self.duration(offset.error_ns)),
        ];
        for line in folded(&parts, " ", self.width) {
            self.paint.line(out, "", &line)?;
        }
        Ok(())
    }

    fn status(&self, out: &mut String) -> fmt::Result {
        let Some([status, from]) = status_text(self.record) else {
            return Ok(());
        };
        for line in folded(&[format!(" {status}"), from], " ", self.width) {
            self.paint
                .line(out, RED, &clip(&line, self.width, self.glyphs.ascii))?;
        }
        Ok(())
    }

    /// Left edge, cells and right edge, at their position on the envelope's axis.
    fn bar(&self, stage: &StageRecord) -> String {
        let Glyphs {
            left,
            full,
            right,
            mark,
            ..
        } = self.glyphs;
        if self.bar_cells == 0 {
            return String::new();
        }
        let (from, to) = cells(self.coverage.envelope, stage, self.bar_cells);
        if to - from < 1.0 {
            let at = (from as usize).min(self.bar_cells - 1);
            return format!("{}{mark}", " ".repeat(at + 1));
        }
        let from = (from.round() as usize).min(self.bar_cells - 1);
        let to = (to.round() as usize).clamp(from + 1, self.bar_cells);
        let mut bar = " ".repeat(from);
        bar.push(left);
        bar.extend(std::iter::repeat_n(full, to - from));
        bar.push(right);
        bar
    }

    fn remainder_text(&self) -> String {
        let remainder = self.duration(self.coverage.remainder_ns());
        format!("{remainder} ({})", self.remainder_share())
    }

    fn remainder_share(&self) -> String {
        units::share(self.coverage.remainder_ns(), self.coverage.envelope.duration_ns())
    }

    fn duration(&self, ns: u64) -> String {
        units::duration(ns, self.glyphs.ascii)
    }
}

/// Whether the call was sent and no timings of the server were received, usually because the call did not complete.
pub(super) fn lacks_server_stages(record: &CallRecord) -> bool {
    let has = |stage| record.stage(stage).is_some();
    has(CLIENT_SEAL) && !has(RPC)
}

/// The status and the method of a failed call; `None` for a successful one.
pub(super) fn status_text(record: &CallRecord) -> Option<[String; 2]> {
    let failed = record.status.0 != 0;
    failed.then(|| {
        [
            format!("status {}", status::name(record.status)),
            format!("from {}", printable(&record.method)),
        ]
    })
}

/// Joins the parts into as few lines as possible without truncating any; continuation lines are indented.
fn folded(parts: &[String], separator: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let columns = |line: &str| line.chars().count();
        match lines.last_mut() {
            Some(line) if columns(line) + columns(separator) + columns(part) <= width => {
                line.push_str(separator);
                line.push_str(part);
            }
            Some(_) => lines.push(format!(" {part}")),
            None => lines.push(part.clone()),
        }
    }
    lines
}

/// Truncates a text to `columns` and marks the truncation in the last column. Each character of these texts takes one
/// column.
pub(super) fn clip(text: &str, columns: usize, ascii: bool) -> Cow<'_, str> {
    if text.chars().count() <= columns {
        return Cow::Borrowed(text);
    }
    let mark = if ascii { '.' } else { '…' };
    let kept = text.chars().take(columns.saturating_sub(1));
    Cow::Owned(kept.chain([mark]).collect())
}

/// The position of a stage on an axis of `cells` cells, clipped to it.
fn cells(envelope: Interval, stage: &StageRecord, cells: usize) -> (f64, f64) {
    let length = envelope.duration_ns();
    if length == 0 {
        return (0.0, 0.0);
    }
    let place = |at: i64| {
        let at = at.clamp(envelope.start_ns, envelope.end_ns);
        at.abs_diff(envelope.start_ns) as f64 / length as f64 * cells as f64
    };
    (place(stage.start_ns), place(stage.end_ns.max(stage.start_ns)))
}

#[derive(Clone, Copy)]
struct Glyphs {
    ascii: bool,
    separator: &'static str,
    plus_minus: &'static str,
    left: char,
    full: char,
    right: char,
    mark: char,
}

const BLOCKS: Glyphs = Glyphs {
    ascii: false,
    separator: " · ",
    plus_minus: "±",
    left: '▕',
    full: '█',
    right: '▏',
    mark: '▏',
};

const ASCII: Glyphs = Glyphs {
    ascii: true,
    separator: " - ",
    plus_minus: "+/-",
    left: '[',
    full: '#',
    right: ']',
    mark: '|',
};

// Three fixed SGR sequences (ECMA-48 section 8.3.117) do not justify a dependency.
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn line(self, out: &mut String, color: &str, text: &str) -> fmt::Result {
        if self.0 && !color.is_empty() {
            writeln!(out, "{color}{text}{RESET}")
        } else {
            writeln!(out, "{text}")
        }
    }
}

#[cfg(test)]
mod tests {
    use baton_proto::ProcessId;
    use proptest::prelude::*;

    use super::*;
    use crate::command::{CallerIds, TracedCommand};
    use crate::family::{Family, FamilySummary, Unavailable};
    use crate::stage::{StageId, exec::*, transport::*};
    use crate::status::RpcStatus;
    use crate::test_records::{record, stage};

    fn sample() -> CallRecord {
        let estimated = |s| StageRecord { estimated: true, ..s };
        record(vec![
            stage(CALL, 0, 10_000_000),
            stage(DISPATCH, 0, 20_000),
            stage(TRANSIT, 20_000, 1_000_000),
            estimated(stage(RELAY_QUEUE, 400_000, 450_000)),
            stage(RPC, 1_000_000, 9_800_000),
            stage(PROCESS, 1_000_000, 9_700_000),
            stage(PROCESS_SPAWN, 1_000_000, 2_000_000),
            stage(PROCESS_WAIT, 2_000_000, 9_700_000),
            stage(TERMINAL_NOTIFY, 9_800_000, 10_000_000),
        ])
    }

    #[test]
    fn a_record_is_drawn_to_scale() {
        let mut record = sample();
        record.clock = Some(ClockOffset {
            offset_ns: 12_000,
            error_ns: 40_000,
        });
        let expected = "\
trace 0000000000000000000000000000002a · 10 ms · 8 stages
 remainder 100 µs (1 %)
 dispatch            20 µs  ▏
 transit            980 µs ▕█████▏
   relay.queue      ~50 µs    ▏
 rpc                8.8 ms      ▕█████████████████████████████████████████████▏
   process          8.7 ms      ▕████████████████████████████████████████████▏
     process.spawn  1.0 ms      ▕█████▏
     process.wait   7.7 ms           ▕███████████████████████████████████████▏
 terminal.notify    200 µs                                                   ▕█▏
 remainder          100 µs  (1 %)
 server clock +12 µs ± 40 µs
";
        assert_eq!(waterfall(&record, &WaterfallStyle::default()), expected);
    }

    #[test]
    fn a_trace_whose_id_is_not_known_is_drawn_without_one() {
        let mut record = sample();
        record.context.trace_id = TraceId::INVALID;
        let drawn = waterfall(&record, &WaterfallStyle::default());
        assert!(
            drawn.starts_with("10 ms · 8 stages · remainder 100 µs (1 %)\n"),
            "{drawn}"
        );
    }

    #[test]
    fn ascii_is_ascii() {
        let style = WaterfallStyle {
            ascii: true,
            ..WaterfallStyle::default()
        };
        let mut record = sample();
        record.clock = Some(ClockOffset {
            offset_ns: -12_000,
            error_ns: 40_000,
        });
        let drawn = waterfall(&record, &style);
        assert!(drawn.is_ascii(), "{drawn}");
        assert!(drawn.contains("server clock -12 us +/- 40 us"), "{drawn}");
        assert!(drawn.contains("[##"), "{drawn}");
    }

    #[test]
    fn a_failed_call_says_so_and_a_peers_text_steers_nothing() {
        let mut record = sample();
        record.status = RpcStatus(5);
        record.method = "evil\x1b[2J.Service/Do".into();
        let drawn = waterfall(&record, &WaterfallStyle::default());
        assert!(
            drawn.ends_with(" status NOT_FOUND from evil[2J.Service/Do\n"),
            "{drawn}"
        );
        let colored = waterfall(
            &record,
            &WaterfallStyle {
                color: true,
                ..WaterfallStyle::default()
            },
        );
        assert!(colored.contains("\x1b[31m status NOT_FOUND"));
    }

    #[test]
    fn a_call_whose_server_told_nothing_says_so() {
        let untold = "\n the server's stages did not come back\n";
        let sent = [stage(CALL, 0, 10), stage(CLIENT_SEAL, 0, 5)];
        let drawn = |stages: &[StageRecord]| waterfall(&record(stages.to_vec()), &WaterfallStyle::default());
        assert!(drawn(&sent).contains(untold));
        assert!(!drawn(&sent[..1]).contains(untold), "it was never sent");
        assert!(!drawn(&[sent[0], sent[1], stage(RPC, 5, 9)]).contains(untold));
    }

    #[test]
    fn a_family_is_named_with_the_stages_that_are_unavailable() {
        let ids = CallerIds::default();
        let command = TracedCommand::new(None, b"agent", ProcessId([1; 16]), ids);
        command.measured(FamilySummary {
            family: Family::JsonLines,
            unavailable: [
                None,
                Some(Unavailable::NotReported),
                Some(Unavailable::NoSessionInit),
            ],
            remainder_ns: 101_000_000,
        });
        let mut record = sample();
        record.command = Some(Box::new(command.summary()));
        let at = |width| {
            let style = WaterfallStyle {
                width,
                ..WaterfallStyle::default()
            };
            waterfall(&record, &style)
        };
        let expected = "
 family jsonl, remainder 101 ms
 family.session_init unavailable: not_reported
 family.first_output unavailable: no_session_init
";
        assert!(at(80).ends_with(expected), "{}", at(80));
        let narrow = at(25);
        assert!(
            narrow.ends_with("\n family.first_output\n unavailable: no_session…\n"),
            "{narrow}"
        );
    }

    #[test]
    fn a_prompt_that_was_not_recognised_has_a_hint() {
        let ids = CallerIds::default();
        let command = TracedCommand::new(None, b"python3", ProcessId([1; 16]), ids);
        command.measured(FamilySummary {
            family: Family::Prompt,
            unavailable: [Some(Unavailable::NotSeen), None, None],
            remainder_ns: 1,
        });
        let mut record = sample();
        record.command = Some(Box::new(command.summary()));
        let style = WaterfallStyle {
            ascii: true,
            ..WaterfallStyle::default()
        };
        let drawn = waterfall(&record, &style);
        let hint = "\n a prompt on standard error does not count; run it as sh -c '... 2>&1'\n";
        assert!(drawn.ends_with(hint) && drawn.is_ascii(), "{drawn}");
    }

    #[test]
    fn attempts_are_told_apart() {
        let again = StageRecord {
            attempt: 1,
            ..stage(CONNECT_DIAL, 5, 9)
        };
        let record = record(vec![stage(CALL, 0, 10), stage(CONNECT_DIAL, 0, 5), again]);
        assert!(waterfall(&record, &WaterfallStyle::default()).contains(" connect.dial (2)"));
    }

    #[test]
    fn a_narrow_terminal_folds_the_header_and_a_very_narrow_one_has_no_bars() {
        let mut record = sample();
        record.clock = Some(ClockOffset {
            offset_ns: 12_000,
            error_ns: 40_000,
        });
        let at = |width| {
            waterfall(
                &record,
                &WaterfallStyle {
                    width,
                    ..WaterfallStyle::default()
                },
            )
        };
        let expected = "\
trace 0000000000000000000000000000002a · 10 ms
 8 stages · remainder 100 µs (1 %)
 dispatch            20 µs  ▏
 transit            980 µs ▕██▏
   relay.queue      ~50 µs  ▏
 rpc                8.8 ms   ▕███████████████████▏
   process          8.7 ms   ▕██████████████████▏
     process.spawn  1.0 ms   ▕██▏
     process.wait   7.7 ms     ▕████████████████▏
 terminal.notify    200 µs                      ▏
 remainder          100 µs  (1 %)
 server clock +12 µs ± 40 µs
";
        assert_eq!(at(50), expected);
        let expected = "\
trace 0000000000000000000000000000002a
 10 ms · 8 stages
 remainder 100 µs (1 %)
 dispatch           20 µs
 transit           980 µs
   relay.queue     ~50 µs
 rpc               8.8 ms
   process         8.7 ms
     process.spa…  1.0 ms
     process.wait  7.7 ms
 terminal.notify   200 µs
 remainder         100 µs
 server clock +12 µs
 ± 40 µs
";
        assert_eq!(at(25), expected);
    }

    proptest! {
        #[test]
        fn rows_fit_the_width_and_nothing_panics(
            stages in prop::collection::vec((any::<u8>(), any::<i64>(), any::<i64>(), any::<u8>()), 0..40),
            width in 0usize..200,
            status in any::<i32>(),
        ) {
            let stages = stages.into_iter().map(|(id, start, end, attempt)| {
                StageRecord { attempt, ..stage(StageId(id), start, end) }
            });
            let mut record = record(stages.collect());
            record.status = RpcStatus(status);
            let drawn = waterfall(&record, &WaterfallStyle { width, ..WaterfallStyle::default() });
            // The id, which must be copied whole, has 38 columns, and a duration may have eleven.
            for line in drawn.lines() {
                prop_assert!(line.chars().count() <= width.max(45), "{}", line);
            }
        }
    }
}
