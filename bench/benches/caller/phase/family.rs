//! A stream with a runtime family over the same stream without one.
//!
//! The family is `jsonl`, and no output has its marker, so that the exec-server looks at as much output as it ever
//! does. One content has no newline. The other has many lines that begin as a JSON object and are none, so that each
//! line is parsed to its end.

use baton_bench::{Failure, Row};
use baton_support::process::Stack;

use super::{BenchContext, Compared, client, interleave};
use crate::bars;
use crate::role::content::Content;

const NONE: usize = 0;
const NONE_AGAIN: usize = 1;
const FAMILY: usize = 2;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let stack = Stack::start(None)?;
    let client = client(&stack, stack.ticket())?;
    // Without detection there would be nothing to measure.
    client.ask("check-family")?;
    let bytes = bench.plan.family_bytes;
    let mib = bytes >> 20;
    let mut rows = Vec::new();
    for (content, shown) in [
        (Content::Garbage, "garbage without newline"),
        (Content::Lines, "lines that are no JSON object"),
    ] {
        let name = content.name();
        let none = format!("stream {name} {bytes}");
        let participants = [
            (&client, none.clone()),
            (&client, none),
            (&client, format!("stream-jsonl {name} {bytes}")),
        ];
        let measured = interleave(bench.plan.family_rounds, &participants)?;
        let compared = Compared {
            own: &measured[FAMILY],
            peer: &measured[NONE],
            peer_again: &measured[NONE_AGAIN],
            bar: Some(bars::FAMILY),
        };
        let what = format!("{mib} MiB of {shown}, `jsonl` over no family");
        rows.push(bench.ratio(&format!("family_{name}"), what, compared));
        for (id, family, participant) in [("none", "no family", NONE), ("jsonl", "`jsonl`", FAMILY)] {
            let (id, what) = (
                format!("family_{name}_{id}"),
                format!("{mib} MiB of {shown}, {family}"),
            );
            rows.push(bench.milliseconds(&id, what, &measured[participant]));
        }
    }
    Ok(rows)
}
