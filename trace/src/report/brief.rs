//! A record in at most ten rows: the stages that took most of the time.
//!
//! ```text
//!  process           9.1 ms   93 %
//!    process.wait    7.7 ms   79 %
//!  remainder         0.1 ms    1 % of 9.8 ms
//! trace 4bf92f3577b34da6a3ce929d0e0e4736
//! ```

use opentelemetry::TraceId;

use super::coverage::Coverage;
use super::waterfall::{WaterfallStyle, clip, lacks_server_stages, status_text};
use super::{tree, units};
use crate::record::CallRecord;

/// Maximum number of rows, including the remainder and the trace id.
const ROWS: usize = 10;

/// A stage is shown if it took more than this fraction of the call: 5 %.
const PART: u64 = 20;

const REMAINDER: &str = "remainder";

/// One row, of a stage or the remainder: name, duration, share.
struct Row {
    name: String,
    duration: String,
    share: String,
}

/// Draws the stages that took more than 5 % of the call (if there are too many, the longest of them), the remainder,
/// and the trace id. Ends with a line feed.
pub fn brief(record: &CallRecord, style: &WaterfallStyle) -> String {
    let coverage = Coverage::of(record);
    let whole = coverage.envelope.duration_ns();
    let mut notes = Vec::new();
    if lacks_server_stages(record) {
        notes.push(" the server's stages did not come back".to_owned());
    }
    notes.extend(status_text(record).map(|words| format!(" {}", words.join(" "))));

    let row = |name: String, ns: u64, of: &str| Row {
        name,
        duration: units::duration(ns, style.ascii),
        share: format!("{:>5}{of}", units::share(ns, whole)),
    };
    let mut rows: Vec<Row> = longest(record, whole, ROWS - 2 - notes.len())
        .into_iter()
        .map(|shown| {
            let name = format!("{}{}", "  ".repeat(shown.depth), tree::label(shown.stage.stage));
            row(name, shown.stage.duration_ns(), "")
        })
        .collect();
    let of = format!(" of {}", units::duration(whole, style.ascii));
    rows.push(row(REMAINDER.into(), coverage.remainder_ns(), &of));

    let widest = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).chars().count()).max();
    let durations = widest(|row| &row.duration).unwrap_or(0);
    let shares = widest(|row| &row.share).unwrap_or(0);
    let room = style
        .width
        .saturating_sub(durations + shares + 3)
        .max(REMAINDER.len());
    let names = widest(|row| &row.name).unwrap_or(0).min(room);
    let mut out = String::new();
    for Row {
        name,
        duration,
        share,
    } in &rows
    {
        let name = clip(name, names, style.ascii);
        out.push_str(&format!(" {name:<names$} {duration:>durations$} {share}\n"));
    }
    for note in notes {
        out.push_str(&clip(&note, style.width, style.ascii));
        out.push('\n');
    }
    // The server may withhold the trace id from the client.
    match record.context.trace_id {
        TraceId::INVALID => out.push_str("trace not told\n"),
        id => out.push_str(&format!("trace {id}\n")),
    }
    out
}

/// At most `most` rows over 5 %, in display order, at the depth that they have without the omitted rows.
fn longest(record: &CallRecord, whole: u64, most: usize) -> Vec<tree::StageRow<'_>> {
    let mut rows = tree::rows(record);
    rows.retain(|row| row.stage.duration_ns().saturating_mul(PART) > whole);
    if rows.len() > most {
        let mut lengths: Vec<_> = rows.iter().map(|row| row.stage.duration_ns()).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let least = lengths[most];
        // Among rows of equal duration, drop all rather than exceed the limit.
        rows.retain(|row| row.stage.duration_ns() > least);
    }
    // Ancestors of a row may have been omitted.
    let mut above: Vec<usize> = Vec::new();
    for row in &mut rows {
        while above.last().is_some_and(|depth| *depth >= row.depth) {
            above.pop();
        }
        let depth = above.len();
        above.push(row.depth);
        row.depth = depth;
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::StageRecord;
    use crate::stage::{StageId, exec::*, transport::*};
    use crate::status::RpcStatus;
    use crate::test_records::{record, stage};

    #[test]
    fn the_stages_over_5_percent_are_shown_and_the_trace_id_last() {
        let record = record(vec![
            stage(CALL, 0, 10_000_000),
            stage(DISPATCH, 0, 20_000),
            stage(TRANSIT, 20_000, 520_000),
            stage(RPC, 520_000, 9_800_000),
            stage(PROCESS, 1_000_000, 9_700_000),
            stage(PROCESS_SPAWN, 1_000_000, 1_600_000),
            stage(PROCESS_WAIT, 1_600_000, 9_700_000),
        ]);
        let expected = "\u{20}rpc               9.3 ms  93 %
   process         8.7 ms  87 %
     process.spawn 600 µs   6 %
     process.wait  8.1 ms  81 %
 remainder         780 µs   8 % of 10 ms
trace 0000000000000000000000000000002a
";
        assert_eq!(brief(&record, &WaterfallStyle::default()), expected);
    }

    proptest! {
        #[test]
        fn never_more_than_ten_rows_that_fit_and_nothing_panics(
            stages in prop::collection::vec((any::<u8>(), any::<i64>(), any::<i64>(), any::<u8>()), 0..40),
            width in 0_usize..120,
            status in any::<i32>(),
        ) {
            let stages = stages.into_iter().map(|(id, start, end, attempt)| {
                StageRecord { attempt, ..stage(StageId(id), start, end) }
            });
            let mut record = record(stages.collect());
            record.status = RpcStatus(status);
            let drawn = brief(&record, &WaterfallStyle { width, ..WaterfallStyle::default() });
            let lines: Vec<_> = drawn.lines().collect();
            prop_assert!(lines.len() <= ROWS, "{drawn}");
            let id = record.context.trace_id.to_string();
            prop_assert!(lines.last().is_some_and(|last| last.contains(&id)), "{drawn}");
            for line in lines {
                prop_assert!(line.chars().count() <= width.max(50), "{line}");
            }
        }
    }
}
