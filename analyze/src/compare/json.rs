//! A comparison as JSON. Durations are in nanoseconds, changes are parts of A.

use serde_json::{Value, json};

use super::design::Design;
use super::stage::{Change, Side, StageComparison};
use super::verdict::Comparison;
use crate::limits::{BLOCKS_MIN, FALSE_ALARMS};

impl Comparison {
    /// One document.
    pub fn json(&self) -> Value {
        let counts = &self.counts;
        let side = |side: usize| {
            json!({
                "runs": counts.runs[side],
                "blocks": counts.blocks[side],
                "left_out": counts.left_out[side],
                "input": self.faults[side].json(),
            })
        };
        json!({
            "verdict": self.verdict.name(),
            "exit_code": self.verdict.exit_code(),
            "reasons": self.reasons,
            "warnings": self.warnings,
            "design": match counts.design {
                Design::Paired => "paired",
                Design::Unpaired => "unpaired",
            },
            "a": side(0),
            "b": side(1),
            "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
            "controls": self.controls.iter().map(stage).collect::<Vec<_>>(),
            "self_check": self.self_check.as_ref().map(|check| json!({
                "method": check.method,
                "units": check.units,
                "moved": check.moved.iter().map(stage).collect::<Vec<_>>(),
            })),
            "options": {
                "controls": self.options.controls,
                "floor_relative": self.options.floor_relative,
                "floor_ns": self.options.floor_ns,
                "detected": self.options.detected,
                "unpaired": self.options.unpaired,
                "false_alarms": FALSE_ALARMS,
                "blocks_min": BLOCKS_MIN,
            },
        })
    }
}

fn stage(stage: &StageComparison) -> Value {
    let side = |side: &Side| json!({ "runs": side.runs, "p50": side.p50, "p90": side.p90 });
    let measured = stage.measured.as_ref();
    json!({
        "stage": stage.name,
        "change": name(stage.change),
        "a": side(&stage.a),
        "b": side(&stage.b),
        "units": measured.map_or(0, |measured| measured.units),
        "relative": measured.map(|measured| measured.relative),
        "interval": measured.and_then(|measured| measured.interval).map(|interval| [interval.low, interval.high]),
        "absolute_ns": measured.map(|measured| measured.absolute_ns),
        "p": measured.and_then(|measured| measured.p),
        "detectable": measured.and_then(|measured| measured.detectable),
        "needed": stage.needed,
    })
}

fn name(change: Change) -> &'static str {
    match change {
        Change::Slower => "slower",
        Change::Faster => "faster",
        Change::Unchanged => "unchanged",
        Change::BelowFloor => "below_floor",
        Change::NotEnoughData => "not_enough_data",
        Change::OnlyInA => "only_in_a",
        Change::OnlyInB => "only_in_b",
    }
}
