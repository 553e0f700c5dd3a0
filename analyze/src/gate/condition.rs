//! The conditions of a rule: a statistic and a threshold.

use super::document::{Place, RulesError, Table};
use super::rules::{Reader, UNPROVEN};
use crate::limits::{FLOOR_NS, FLOOR_RELATIVE};
use crate::stats::Quantile;

/// A stage, or a sum of stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) name: String,
    pub(super) stages: Vec<String>,
}

/// A statistic that must reach a threshold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    /// Its line in the file.
    pub(super) line: usize,
    pub(super) statistic: Statistic,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statistic {
    /// A quantile of a duration, in nanoseconds.
    Duration {
        of: Interval,
        quantile: Quantile,
        threshold: Threshold,
    },
    /// A quantile of the ratio of two durations of one run.
    Share {
        part: Interval,
        of: Interval,
        quantile: Quantile,
        threshold: Threshold,
        /// The part's own quantile must reach this, in nanoseconds.
        floor_ns: f64,
    },
    /// The median share of `part` is greater than that of every other stage of `of`.
    Dominant { part: String, of: Interval },
    /// The change of a stage from one set to another.
    Difference(Difference),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    pub(super) stage: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) threshold: Threshold,
    /// The threshold is in nanoseconds, else a part of `from`.
    pub(super) is_absolute: bool,
    pub(super) controls: Vec<String>,
    pub(super) floor_ns: f64,
    pub(super) floor_relative: f64,
}

/// A bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Threshold {
    AtLeast(f64),
    AtMost(f64),
}

impl Threshold {
    pub(super) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    pub(super) fn bound(self) -> f64 {
        let (Self::AtLeast(bound) | Self::AtMost(bound)) = self;
        bound
    }
}

impl Condition {
    pub(super) fn is_difference(&self) -> bool {
        matches!(self.statistic, Statistic::Difference(_))
    }
}

/// What a threshold may be written as.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Duration,
    Part,
    Either,
}

/// Reads a condition.
pub(super) fn condition(reader: &Reader<'_>, mut table: Table<'_>) -> Result<Condition, RulesError> {
    const KINDS: [&str; 4] = ["stage", "share", "dominant", "difference"];
    let line = table.line();
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| table.has(kind)).collect();
    let statistic = match kinds[..] {
        ["stage"] => {
            let (name, place) = table.required("stage")?;
            Statistic::Duration {
                of: reader.interval(name, &place)?,
                quantile: quantile(reader, &mut table)?,
                threshold: threshold(reader, &mut table, Unit::Duration)?.0,
            }
        }
        ["share"] => {
            let (part, part_place) = table.required("share")?;
            let (of, of_place) = table.required("of")?;
            Statistic::Share {
                part: reader.interval(part, &part_place)?,
                of: reader.interval(of, &of_place)?,
                quantile: quantile(reader, &mut table)?,
                threshold: threshold(reader, &mut table, Unit::Part)?.0,
                floor_ns: floor(reader, &mut table)?.unwrap_or(0.0),
            }
        }
        ["dominant"] => dominant(reader, &mut table)?,
        ["difference"] => Statistic::Difference(difference(reader, &mut table)?),
        _ => {
            let message = "a condition has exactly one of `stage`, `share`, `dominant` and `difference`";
            return Err(table.error(message));
        }
    };
    table.finish()?;
    Ok(Condition { line, statistic })
}

fn dominant(reader: &Reader<'_>, table: &mut Table<'_>) -> Result<Statistic, RulesError> {
    let (part, place) = table.required("dominant")?;
    let (of, of_place) = table.required("of")?;
    let of = reader.interval(of, &of_place)?;
    let part = reader.stage(part, &place)?;
    if !of.stages.contains(&part) || of.stages.len() < 2 {
        let message = format!(
            "`{part}` can be dominant only in an interval of it and other stages, and `{}` is not",
            of.name
        );
        return Err(reader.document.error(&place, message));
    }
    Ok(Statistic::Dominant { part, of })
}

fn difference(reader: &Reader<'_>, table: &mut Table<'_>) -> Result<Difference, RulesError> {
    let (stage, place) = table.required("difference")?;
    let (from, _) = table.required("from")?;
    let (to, to_place) = table.required("to")?;
    if from == to {
        let message = format!("a difference is between two sets, and both are `{from}`");
        return Err(reader.document.error(&to_place, message));
    }
    let (threshold, is_absolute) = threshold(reader, table, Unit::Either)?;
    let mut controls = Vec::new();
    for (control, place) in table.texts("controls")? {
        reader.outcome(UNPROVEN, &place)?;
        controls.push(reader.stage(control, &place)?);
    }
    Ok(Difference {
        stage: reader.stage(stage, &place)?,
        from: from.to_owned(),
        to: to.to_owned(),
        threshold,
        is_absolute,
        controls,
        floor_ns: floor(reader, table)?.unwrap_or(FLOOR_NS),
        floor_relative: FLOOR_RELATIVE,
    })
}

fn quantile(reader: &Reader<'_>, table: &mut Table<'_>) -> Result<Quantile, RulesError> {
    let (text, place) = table.required("statistic")?;
    text.parse()
        .map_err(|error| reader.document.error(&place, format!("{error}")))
}

fn floor(reader: &Reader<'_>, table: &mut Table<'_>) -> Result<Option<f64>, RulesError> {
    let floor = table.text("floor")?;
    floor
        .map(|(text, place)| duration(text).ok_or_else(|| not(reader, &place, Unit::Duration)))
        .transpose()
}

/// The threshold of a condition, and whether it is a duration.
fn threshold(
    reader: &Reader<'_>,
    table: &mut Table<'_>,
    unit: Unit,
) -> Result<(Threshold, bool), RulesError> {
    let (least, most) = (table.text("at_least")?, table.text("at_most")?);
    let bound = |(text, place): (&str, Place)| {
        let as_duration = (unit != Unit::Part).then(|| duration(text)).flatten();
        let as_part = (unit != Unit::Duration).then(|| part(text)).flatten();
        match (as_duration, as_part) {
            (Some(bound), _) => Ok((bound, true)),
            (None, Some(bound)) => Ok((bound, false)),
            (None, None) => Err(not(reader, &place, unit)),
        }
    };
    match (least, most) {
        (Some(least), None) => bound(least).map(|(bound, unit)| (Threshold::AtLeast(bound), unit)),
        (None, Some(most)) => bound(most).map(|(bound, unit)| (Threshold::AtMost(bound), unit)),
        _ => Err(table.error("a condition has exactly one of `at_least` and `at_most`")),
    }
}

fn not(reader: &Reader<'_>, place: &Place, unit: Unit) -> RulesError {
    reader.document.error(
        place,
        match unit {
            Unit::Duration => "this must be a duration like \"5ms\" or \"200us\"",
            Unit::Part => "this must be a part like \"30 %\"",
            Unit::Either => "this must be a part like \"5 %\" or a duration like \"5ms\"",
        },
    )
}

/// A duration in nanoseconds.
fn duration(text: &str) -> Option<f64> {
    let (sign, text) = signed(text);
    let duration = humantime::parse_duration(text).ok()?;
    Some(sign * duration.as_nanos() as f64)
}

/// A percentage as a part of 1.
fn part(text: &str) -> Option<f64> {
    let (sign, text) = signed(text);
    let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    // The range of what a person can mean; also refuses NaN and infinity.
    (0.0..=1e6).contains(&number).then_some(sign * number / 100.0)
}

fn signed(text: &str) -> (f64, &str) {
    let text = text.trim();
    match text.strip_prefix('-') {
        Some(text) => (-1.0, text.trim()),
        None => (1.0, text.strip_prefix('+').unwrap_or(text).trim()),
    }
}
