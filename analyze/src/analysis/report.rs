//! The answer.

use baton_trace::TraceId;
use baton_trace::stage::{StageId, transport};
use baton_trace::text::counted;

use super::exemplars::Exemplars;
use super::stages::{GroupFigures, SHARE_UNIT, StageDistributions};
use super::turn_stages::Named;
use super::{Analysis, By, LeftOut, RankedAttribute, RepeatReport};
use crate::history;
use crate::read::ReadSummary;
use crate::stats::{Distribution, Quantile};

/// Figures of the calls that count.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Calls that count.
    pub calls: u64,
    /// Of them, calls of which only the exec-server's half is there: they have stages and no envelope, transit and
    /// remainder.
    pub without_envelope: u64,
    /// Calls and traces that do not count.
    pub left_out: LeftOut,
    /// The version that counts, if only the newest does.
    pub version: Option<String>,
    /// Start of the oldest and the newest call, in nanoseconds since the Unix epoch; `None` without calls.
    pub window_ns: Option<(u64, u64)>,
    /// The whole call; `None`: no call has its client's half.
    pub envelope: Option<Figures>,
    /// Time of the envelope that no stage accounts for; `None` without envelopes.
    pub remainder: Option<Figures>,
    /// The remainder over the envelope: the sums.
    pub remainder_share: Option<f64>,
    /// How many remainders the clients told; the others are derived from the spans.
    pub remainders_told: u64,
    /// Calls with an envelope whose remainder is not known, because the clocks are not.
    pub remainders_unknown: u64,
    /// Each stage that a call has, in waterfall order.
    pub stages: Vec<StageReport>,
    /// The stages of the caller's turns, which are in no call.
    pub turn_stages: Vec<(&'static str, Figures)>,
    /// The calls by group, if asked for. Groups of turns have the stages of the turn too.
    pub groups: Vec<Group>,
    /// Calls in groups beyond [`GROUPS_MAX`](crate::limits::GROUPS_MAX).
    pub calls_of_more_groups: u64,
    /// Calls of the first turn, and of later ones.
    pub first_turn: Group,
    /// Calls of later turns.
    pub later_turns: Group,
    /// Calls that opened their session.
    pub cold: Group,
    /// Calls in a session that was open.
    pub warm: Group,
    /// Stages and figures that the input cannot have, and the reason.
    pub unavailable: Vec<(&'static str, &'static str)>,
    /// Attributes that slow calls have and fast ones lack, or the reverse.
    pub attributes: Vec<RankedAttribute>,
    /// Attributes that were not ranked, because there were too many values.
    pub attributes_unranked: u64,
    /// Calls that repeat an earlier one of their turn, if asked for.
    pub repeats: Option<RepeatReport>,
    /// The envelope as it would be.
    pub what_if: Vec<WhatIfReport>,
}

/// Quantiles of one kind of time, in nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Calls that have it.
    pub count: u64,
    /// The quantiles.
    pub quantiles: Quantiles,
    /// Traces that stand for the 50th, 90th and 99th percentile.
    pub exemplars: Option<[TraceId; 3]>,
    /// The quantiles are exact; else within 1 %.
    pub is_exact: bool,
}

/// The 50th, 90th and 99th percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// A stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StageReport {
    /// Its name in the tables.
    pub name: &'static str,
    /// Its durations.
    pub duration: Figures,
    /// Its durations without its children.
    pub self_time: Quantiles,
    /// Its durations over the envelopes: the sums of the calls that have it; `None` without envelopes.
    pub share: Option<f64>,
    /// Quantiles of the same ratio, call by call.
    pub share_by_call: Option<Quantiles>,
    /// Its own time on the critical path over the envelopes: the sums; `None` where no call's parts can be placed.
    pub path_share: Option<f64>,
    /// Quantiles of the same ratio, call by call.
    pub path_share_by_call: Option<Quantiles>,
}

/// Calls with something in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What they have in common.
    pub name: String,
    /// How many they are.
    pub calls: u64,
    /// Their envelopes; `None`: there is no such call, or none has its client's half.
    pub envelope: Option<Figures>,
    /// The durations of their stages.
    pub stages: Vec<(&'static str, Figures)>,
}

/// The envelopes with a stage changed.
#[derive(Debug, Clone, PartialEq)]
pub struct WhatIfReport {
    /// The change, as asked for.
    pub what_if: String,
    /// Calls that have the stage.
    pub calls: u64,
    /// The envelopes as they would be.
    pub envelope: Figures,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No call counts.
    #[error("no call counts: {}", .0.told())]
    NoCalls(Box<LeftOut>),
    /// The traces are not of Baton.
    #[error(
        "{} bypassed Baton: no span is a stage of it (`baton.stage`), so they are no evidence about it",
        counted(*.0, "trace", "traces")
    )]
    Bypassed(u64),
    /// The traces are a sample.
    #[error(
        "{} sampled, so plain percentiles would be wrong; --weighted counts each by its sampling probability",
        counted(*.0, "call is", "calls are")
    )]
    Sampled(u64),
    /// No call can be compared with another.
    #[error(
        "--repeats cannot answer: {} `baton.arguments.fingerprint`; the `call` of a command has it if the client is of \
         this version and the command belongs to a turn (`--turn`, `Command::turn`)",
        counted(*.0, "call has no", "calls have no")
    )]
    NoFingerprints(u64),
    /// A part of the input is missing.
    #[error(
        "the input is truncated: {}, and {} not be read; --weighted leaves them out",
        counted(*.traces, "trace lacks spans", "traces lack spans"),
        counted(*.faults, "part of a file could", "parts of files could"),
    )]
    Truncated {
        /// Traces that lack spans.
        traces: u64,
        /// Faults of the input.
        faults: u64,
    },
}

impl LeftOut {
    /// Every count that is not 0, as a sentence.
    pub fn told(&self) -> String {
        let counts = [
            (
                self.bypassed_traces,
                "trace without a call of Baton",
                "traces without a call of Baton",
            ),
            (
                self.background_traces,
                "trace of background stages",
                "traces of background stages",
            ),
            (
                self.truncated_traces,
                "trace that lacks spans",
                "traces that lack spans",
            ),
            (
                self.fragments,
                "group of stages without their call",
                "groups of stages without their call",
            ),
            (
                self.outside_window,
                "call outside of the window",
                "calls outside of the window",
            ),
            (
                self.filtered,
                "call that a filter excludes",
                "calls that a filter excludes",
            ),
            (
                self.cancelled,
                "call that the caller gave up",
                "calls that the caller gave up",
            ),
            (
                self.old_versions,
                "call of an older version",
                "calls of older versions",
            ),
            (
                self.backwards,
                "call whose clock ran backwards",
                "calls whose clock ran backwards",
            ),
        ];
        let told: Vec<_> = counts
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| counted(*count, one, many))
            .collect();
        match told.is_empty() {
            true => "nothing was left out".to_owned(),
            false => format!("left out {}", told.join(", ")),
        }
    }
}

impl Analysis {
    /// The answer.
    ///
    /// # Errors
    /// [`Refused`]: the input does not support an answer.
    pub fn finish(self, read: &ReadSummary) -> Result<Report, Refused> {
        let Self {
            question,
            left_out,
            turn_stages,
            newest,
            mut totals,
        } = self;
        if !question.is_weighted {
            if left_out.sampled > 0 {
                return Err(Refused::Sampled(left_out.sampled));
            }
            if left_out.truncated_traces > 0 || read.fault_count > 0 {
                return Err(Refused::Truncated {
                    traces: left_out.truncated_traces,
                    faults: read.fault_count,
                });
            }
        }
        if totals.calls == 0 {
            let others = LeftOut {
                bypassed_traces: 0,
                ..left_out.clone()
            };
            return Err(
                match others == LeftOut::default() && left_out.bypassed_traces > 0 {
                    true => Refused::Bypassed(left_out.bypassed_traces),
                    false => Refused::NoCalls(Box::new(left_out)),
                },
            );
        }
        let repeats = totals.repeats.report();
        if question.with_repeats && repeats.is_none() {
            return Err(Refused::NoFingerprints(totals.calls));
        }
        let (turn_stages, by_turn) = turn_stages.finish();
        let mut groups: Vec<Group> = match question.by {
            By::Stage => Vec::new(),
            _ => totals
                .groups
                .groups
                .into_iter()
                .map(|(name, of)| group(name, of))
                .collect(),
        };
        if question.by == By::Turn {
            for (turn, stages) in by_turn {
                let found = groups.iter_mut().find(|group| group.name == turn);
                if let Some(group) = found {
                    group.stages.extend(with_figures(stages));
                }
            }
            // Names are numbers, but for `none`.
            groups.sort_by_key(|group| group.name.parse().unwrap_or(u64::MAX));
        }
        let stages = in_waterfall_order(totals.stages.stages)
            .map(|(stage, distributions)| stage_report(stage, distributions))
            .collect();
        Ok(Report {
            calls: totals.calls,
            without_envelope: totals.without_envelope,
            version: newest.map(|version| version.text().to_owned()),
            window_ns: Some((totals.oldest_ns, totals.newest_ns)),
            envelope: figures(&mut totals.envelope, Some(&totals.envelope_exemplars)),
            remainder: figures(&mut totals.remainder, None),
            remainder_share: (totals.remainder_envelope_sum > 0.0)
                .then(|| totals.remainder_sum / totals.remainder_envelope_sum),
            remainders_told: totals.remainders_told,
            remainders_unknown: totals.remainders_unknown,
            stages,
            turn_stages: with_figures(turn_stages).collect(),
            groups,
            calls_of_more_groups: totals.groups.rest,
            first_turn: group("first turn".to_owned(), totals.first_turn),
            later_turns: group("later turns".to_owned(), totals.later_turns),
            cold: group("cold session".to_owned(), totals.cold),
            warm: group("warm session".to_owned(), totals.warm),
            unavailable: match question.is_history {
                true => history::unavailable()
                    .map(|name| (name, history::UNAVAILABLE))
                    .collect(),
                false => Vec::new(),
            },
            attributes: totals.attributes.ranked(),
            repeats,
            attributes_unranked: totals.attributes.unranked,
            what_if: totals
                .what_if
                .into_iter()
                .filter_map(|mut what_if| {
                    Some(WhatIfReport {
                        what_if: what_if.what_if.to_string(),
                        calls: what_if.calls,
                        envelope: figures(&mut what_if.envelope, None)?,
                    })
                })
                .collect(),
            left_out,
        })
    }
}

fn with_figures(stages: Named) -> impl Iterator<Item = (&'static str, Figures)> {
    let figures = |(name, mut durations): (_, Distribution)| Some((name, figures(&mut durations, None)?));
    stages.into_iter().filter_map(figures)
}

fn stage_report(stage: StageId, mut of: StageDistributions) -> StageReport {
    // Without a value of its own, a stage has no entry.
    let duration = figures(&mut of.duration, Some(&of.exemplars)).unwrap_or_else(Figures::none);
    let share = |sum: f64, envelopes: f64| (envelopes > 0.0).then(|| sum / envelopes);
    StageReport {
        name: stage.name(),
        duration,
        self_time: quantiles(&mut of.self_time).unwrap_or(Quantiles::ZERO),
        share: share(of.duration_sum, of.envelope_sum),
        share_by_call: shares(&mut of.share),
        path_share: share(of.path_sum, of.path_envelope_sum),
        path_share_by_call: shares(&mut of.path_share),
    }
}

fn group(name: String, mut of: GroupFigures) -> Group {
    Group {
        name,
        calls: of.calls,
        envelope: figures(&mut of.envelope, None),
        stages: in_waterfall_order(of.stages)
            .filter_map(|(stage, mut durations)| Some((stage.name(), figures(&mut durations, None)?)))
            .collect(),
    }
}

/// Stages as the tables list them, those of other tables last.
fn in_waterfall_order<T>(stages: std::collections::BTreeMap<u8, T>) -> impl Iterator<Item = (StageId, T)> {
    let position = |stage: StageId| baton_trace::stage::all().position(|row| row.id == stage);
    let mut stages: Vec<_> = stages
        .into_iter()
        .map(|(id, value)| (StageId(id), value))
        .collect();
    stages.retain(|(stage, _)| *stage != transport::CALL);
    stages.sort_by_key(|(stage, _)| (position(*stage).unwrap_or(usize::MAX), stage.0));
    stages.into_iter()
}

impl Quantiles {
    const ZERO: Self = Self {
        p50: 0.0,
        p90: 0.0,
        p99: 0.0,
    };
}

impl Figures {
    fn none() -> Self {
        Self {
            count: 0,
            quantiles: Quantiles::ZERO,
            exemplars: None,
            is_exact: true,
        }
    }
}

fn quantiles(of: &mut Distribution) -> Option<Quantiles> {
    let mut at = |quantile: Quantile| of.quantile(quantile);
    Some(Quantiles {
        p50: at(Quantile::P50)?,
        p90: at(Quantile::P90)?,
        p99: at(Quantile::P99)?,
    })
}

fn shares(of: &mut Distribution) -> Option<Quantiles> {
    let Quantiles { p50, p90, p99 } = quantiles(of)?;
    let [p50, p90, p99] = [p50, p90, p99].map(|share| share / SHARE_UNIT);
    Some(Quantiles { p50, p90, p99 })
}

fn figures(of: &mut Distribution, exemplars: Option<&Exemplars>) -> Option<Figures> {
    let quantiles = quantiles(of)?;
    let exemplar = |value: f64| exemplars?.nearest(value);
    let exemplars = || {
        Some([
            exemplar(quantiles.p50)?,
            exemplar(quantiles.p90)?,
            exemplar(quantiles.p99)?,
        ])
    };
    Some(Figures {
        count: of.count() as u64,
        quantiles,
        exemplars: exemplars(),
        is_exact: of.is_exact(),
    })
}

#[cfg(test)]
mod tests;
