//! Distributions by stage.

use std::collections::BTreeMap;

use baton_trace::TraceId;

use super::exemplars::Exemplars;
use super::measure::CallFigures;
use crate::limits::GROUPS_MAX;
use crate::stats::Distribution;

/// Every figure of every stage.
#[derive(Default)]
pub(super) struct StageTable {
    /// By stage id.
    pub stages: BTreeMap<u8, StageDistributions>,
}

/// The figures of one stage.
#[derive(Default)]
pub(super) struct StageDistributions {
    pub duration: Distribution,
    pub self_time: Distribution,
    /// Duration over envelope, for each call that has one.
    pub share: Distribution,
    /// Time on the critical path over envelope.
    pub path_share: Distribution,
    pub exemplars: Exemplars,
    /// The envelopes of the calls that have the stage, and the stage's durations in them.
    pub envelope_sum: f64,
    pub duration_sum: f64,
    /// Likewise of the calls whose critical path is known.
    pub path_envelope_sum: f64,
    pub path_sum: f64,
}

/// Shares are kept in parts per billion, because a distribution counts values below 1 as 0.
pub(super) const SHARE_UNIT: f64 = 1e9;

impl StageTable {
    pub(super) fn add(&mut self, trace: TraceId, figures: &CallFigures) {
        let envelope = figures.envelope_ns.filter(|ns| *ns > 0).map(|ns| ns as f64);
        for stage in &figures.stages {
            let known = self.stages.entry(stage.stage.0).or_default();
            known.duration.add(stage.duration_ns as f64);
            known.self_time.add(stage.self_ns as f64);
            known.exemplars.add(stage.duration_ns, trace);
            let Some(envelope) = envelope else {
                continue;
            };
            known.envelope_sum += envelope;
            known.duration_sum += stage.duration_ns as f64;
            known.share.add(stage.duration_ns as f64 / envelope * SHARE_UNIT);
            if let Some(path_ns) = stage.path_ns {
                known.path_envelope_sum += envelope;
                known.path_sum += path_ns as f64;
                known.path_share.add(path_ns as f64 / envelope * SHARE_UNIT);
            }
        }
    }
}

/// The figures of a group of calls: less than those of all, because there may be many groups.
#[derive(Default)]
pub(super) struct GroupFigures {
    pub calls: u64,
    pub envelope: Distribution,
    pub stages: BTreeMap<u8, Distribution>,
}

impl GroupFigures {
    pub(super) fn add(&mut self, figures: &CallFigures) {
        self.calls += 1;
        if let Some(envelope_ns) = figures.envelope_ns {
            self.envelope.add(envelope_ns as f64);
        }
        for stage in &figures.stages {
            self.stages
                .entry(stage.stage.0)
                .or_default()
                .add(stage.duration_ns as f64);
        }
    }
}

/// Groups by name.
#[derive(Default)]
pub(super) struct Groups {
    pub groups: BTreeMap<String, GroupFigures>,
    /// Calls of names that came after [`GROUPS_MAX`] others.
    pub rest: u64,
}

impl Groups {
    pub(super) fn add(&mut self, name: &str, figures: &CallFigures) {
        if let Some(group) = self.groups.get_mut(name) {
            group.add(figures);
        } else if self.groups.len() < GROUPS_MAX {
            self.groups.entry(name.to_owned()).or_default().add(figures);
        } else {
            self.rest += 1;
        }
    }
}
