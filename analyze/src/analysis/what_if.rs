//! How long calls would take if a stage took another time.
//!
//! Shortening a stage shortens the call by at most the time that the stage and everything under it are on the critical
//! path. What would come onto the path in its place is not known, so the gain is an upper bound. Lengthening a stage
//! that is on the path lengthens the call.

use std::fmt;
use std::str::FromStr;

use baton_trace::stage::{self, StageId};

use super::measure::CallFigures;
use crate::stages;
use crate::stats::Distribution;

/// A change of one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct WhatIf {
    /// Which stage.
    pub stage: StageId,
    /// By how much.
    pub change: Change,
}

/// A change of a duration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// By nanoseconds.
    By(i64),
    /// By a part of it: -0.2 is a fifth less.
    Part(f64),
}

/// Why a change could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseWhatIfError {
    /// Not `STAGE=CHANGE`.
    #[error("write STAGE=CHANGE, as in process.spawn=-5ms or transit=-20%")]
    Form,
    /// No such stage.
    #[error("no stage is called {name}{}", near(.name))]
    Stage {
        /// The name.
        name: String,
    },
    /// No change.
    #[error("{change} is no change: write a sign, a number and ns, us, ms, s or %")]
    Change {
        /// The text.
        change: String,
    },
}

/// The stage whose name is nearest, for a message.
fn near(name: &str) -> String {
    match stages::nearest(name, stage::all().map(|row| row.name)) {
        Some(known) => format!("; did you mean {known}?"),
        None => "; docs/STAGES.md lists them".to_owned(),
    }
}

impl FromStr for WhatIf {
    type Err = ParseWhatIfError;

    fn from_str(text: &str) -> Result<Self, ParseWhatIfError> {
        let (name, change) = text.split_once('=').ok_or(ParseWhatIfError::Form)?;
        let row = stage::by_name(name).ok_or_else(|| ParseWhatIfError::Stage { name: name.into() })?;
        let parsed = parse_change(change);
        let change = parsed.ok_or_else(|| ParseWhatIfError::Change {
            change: change.into(),
        })?;
        Ok(Self {
            stage: row.id,
            change,
        })
    }
}

fn parse_change(text: &str) -> Option<Change> {
    let at = text.find(|c: char| c.is_alphabetic() || c == '%')?;
    let (number, unit) = text.split_at(at);
    if !number.starts_with(['-', '+']) {
        return None;
    }
    let number: f64 = number.parse().ok().filter(|number: &f64| number.is_finite())?;
    let ns = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "%" => return (number >= -100.0).then_some(Change::Part(number / 100.0)),
        _ => return None,
    };
    Some(Change::By((number * ns).round() as i64))
}

impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.change {
            // The longest unit that needs no fraction, as a person writes it.
            Change::By(ns) => {
                let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
                let whole = units.into_iter().find(|(unit, _)| ns != 0 && ns % unit == 0);
                let (unit, name) = whole.unwrap_or((1, "ns"));
                write!(f, "{}={:+}{name}", self.stage.name(), ns / unit)
            }
            Change::Part(part) => write!(f, "{}={:+}%", self.stage.name(), part * 100.0),
        }
    }
}

pub(super) struct WhatIfFigures {
    pub what_if: WhatIf,
    /// The envelopes as they would be.
    pub envelope: Distribution,
    /// Calls with the stage, and known places.
    pub calls: u64,
}

impl WhatIfFigures {
    pub(super) fn new(what_if: WhatIf) -> Self {
        Self {
            what_if,
            envelope: Distribution::new(),
            calls: 0,
        }
    }

    pub(super) fn add(&mut self, envelope_ns: u64, figures: &CallFigures) {
        let stage = figures.stage(self.what_if.stage);
        let Some((stage, on_path)) = stage.and_then(|stage| Some((stage, stage.path_below_ns?))) else {
            // A call without the stage stays as it is.
            self.envelope.add(envelope_ns as f64);
            return;
        };
        self.calls += 1;
        let wanted = match self.what_if.change {
            Change::By(ns) => ns,
            Change::Part(part) => (stage.duration_ns as f64 * part).round() as i64,
        };
        let changed = match wanted {
            ..0 => envelope_ns - on_path.min(wanted.unsigned_abs()).min(envelope_ns),
            _ if on_path > 0 => envelope_ns.saturating_add(wanted.unsigned_abs()),
            _ => envelope_ns,
        };
        self.envelope.add(changed as f64);
    }
}

#[cfg(test)]
mod tests {
    use baton_trace::stage::{exec, transport};

    use super::*;
    use crate::analysis::measure::StageFigures;

    #[test]
    fn a_change_is_read_and_written() {
        for (text, stage, change, written) in [
            (
                "process.spawn=-5ms",
                exec::PROCESS_SPAWN,
                Change::By(-5_000_000),
                "process.spawn=-5ms",
            ),
            (
                "transit=+1.5us",
                transport::TRANSIT,
                Change::By(1_500),
                "transit=+1500ns",
            ),
            ("rpc=-20%", transport::RPC, Change::Part(-0.2), "rpc=-20%"),
        ] {
            let what_if: WhatIf = text.parse().unwrap();
            assert_eq!((what_if.stage, what_if.change), (stage, change));
            assert_eq!(what_if.to_string(), written);
        }
    }

    #[test]
    fn what_is_no_change_is_refused_with_the_near_name() {
        let of = |text: &str| text.parse::<WhatIf>().unwrap_err().to_string();
        assert!(of("transit").starts_with("write STAGE=CHANGE"));
        assert_eq!(
            of("proces.spawn=-5ms"),
            "no stage is called proces.spawn; did you mean process.spawn?"
        );
        assert!(of("hologram=-5ms").ends_with("docs/STAGES.md lists them"));
        for change in ["5ms", "-5", "-ms", "-101%", "-5min", ""] {
            assert!(of(&format!("rpc={change}")).contains("is no change"), "{change}");
        }
    }

    #[test]
    fn a_stage_gives_no_more_than_its_time_on_the_path() {
        let figures = |path| CallFigures {
            stages: vec![StageFigures {
                stage: transport::TRANSIT,
                duration_ns: 100,
                self_ns: 100,
                path_ns: Some(path),
                path_below_ns: Some(path),
            }],
            ..CallFigures::default()
        };
        for (change, path, expected) in [
            (Change::By(-30), 80, 970.0),
            (Change::By(-300), 80, 920.0),
            (Change::Part(-0.5), 80, 950.0),
            (Change::By(-30), 0, 1_000.0),
            (Change::By(40), 80, 1_040.0),
            (Change::By(40), 0, 1_000.0),
        ] {
            let stage = transport::TRANSIT;
            let mut what_if = WhatIfFigures::new(WhatIf { stage, change });
            what_if.add(1_000, &figures(path));
            assert_eq!(what_if.envelope.max(), Some(expected), "{change:?} {path}");
        }
        let stage = transport::RPC;
        let mut absent = WhatIfFigures::new(WhatIf {
            stage,
            change: Change::By(-5),
        });
        absent.add(1_000, &figures(80));
        assert_eq!((absent.envelope.max(), absent.calls), (Some(1_000.0), 0));
    }
}
