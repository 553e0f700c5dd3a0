//! One row: a number, its interval, and its bar.

use serde_json::{Value, json};

use crate::stats::{Bar, Estimate, NoEffect, Rounds, Verdict};

/// The unit of a row's numbers.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// A ratio.
    Times,
    /// A count, without unit.
    Count,
    /// Percent.
    Percent,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
    /// A rate.
    PerSecond,
    /// Bytes.
    Bytes,
    /// 1,024 bytes.
    Kibibytes,
    /// 10^6 bytes.
    Megabytes,
    /// 10^6 bytes a second.
    MegabytesPerSecond,
}

/// One measured number, or the reason why it is absent.
#[derive(Debug)]
pub struct Row {
    /// The name in JSON; unique.
    id: String,
    what: String,
    unit: Unit,
    estimate: Result<Estimate, String>,
    /// A against A: a ratio or a difference, as the estimate is.
    noise: Option<Estimate>,
    bar: Option<Bar>,
    samples: usize,
    rounds: usize,
}

impl Row {
    /// A number with an interval over its rounds.
    pub fn new(
        id: impl Into<String>,
        what: impl Into<String>,
        unit: Unit,
        estimate: Estimate,
        of: &Rounds,
    ) -> Self {
        Self {
            samples: of.samples(),
            rounds: of.len(),
            ..Self::once(id, what, unit, estimate)
        }
    }

    /// A number that was measured once.
    pub fn once(id: impl Into<String>, what: impl Into<String>, unit: Unit, estimate: Estimate) -> Self {
        Self {
            id: id.into(),
            what: what.into(),
            unit,
            estimate: Ok(estimate),
            noise: None,
            bar: None,
            samples: 1,
            rounds: 1,
        }
    }

    /// No number, because this machine lacks a prerequisite. The row shows the reason. `--check` fails: a number that
    /// nobody measured must not look as if it had passed.
    pub fn absent(
        id: impl Into<String>,
        what: impl Into<String>,
        unit: Unit,
        why: impl Into<String>,
    ) -> Self {
        Self {
            estimate: Err(why.into()),
            samples: 0,
            rounds: 0,
            ..Self::once(id, what, unit, Estimate::exact(f64::NAN))
        }
    }

    /// Sets A against A: a ratio or a difference, as the estimate is. A row whose unit is [`Unit::Times`] is a ratio.
    pub fn noise(self, noise: Estimate) -> Self {
        Self {
            noise: Some(noise),
            ..self
        }
    }

    /// Sets the bar.
    pub fn bar(self, bar: Option<Bar>) -> Self {
        Self { bar, ..self }
    }

    /// Whether it has a bar.
    pub(crate) fn is_judged(&self) -> bool {
        self.bar.is_some()
    }

    /// Its verdict, if it has a bar and was measured.
    pub fn verdict(&self) -> Option<Verdict> {
        let (bar, estimate) = (self.bar?, self.estimate.as_ref().ok()?);
        Some(match &self.noise {
            Some(a_against_a) => bar.judge_against_noise(estimate, a_against_a, self.no_effect()),
            None => bar.judge(estimate),
        })
    }

    fn no_effect(&self) -> NoEffect {
        match self.unit {
            Unit::Times => NoEffect::One,
            _ => NoEffect::Zero,
        }
    }

    /// What is wrong with the row, as a sentence: it was not measured, is not judgeable, or fails its bar.
    pub(crate) fn problem(&self) -> Option<String> {
        let what = &self.what;
        if let Some(why) = self.absence() {
            return Some(format!("not measured: {what}: {why}"));
        }
        let [_, measured, interval, _, bar, ..] = self.cells();
        match self.verdict()? {
            Verdict::Pass | Verdict::PassWithinNoise => None,
            Verdict::Fail => {
                let within = match &interval[..] {
                    "" => String::new(),
                    interval => format!(" (within {interval})"),
                };
                Some(format!("FAIL: {what}: {measured}{within}, but the bar is {bar}"))
            }
            Verdict::NotJudgeable => {
                // Its two ends: the interval need not be symmetric.
                let (low, high) = self
                    .noise
                    .map_or((f64::NAN, f64::NAN), |noise| (noise.low, noise.high));
                Some(format!(
                    "not judgeable: {what}: A against A is within {low:.4} – {high:.4}, which excludes {}: run this \
                     phase again, with nothing else on the machine",
                    self.no_effect().value()
                ))
            }
        }
    }

    /// The reason why it was not measured, if it was not.
    pub fn absence(&self) -> Option<&str> {
        self.estimate.as_ref().err().map(String::as_str)
    }

    /// The description of the measured quantity.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Its cells in the [table](super::table).
    pub(super) fn cells(&self) -> [String; 7] {
        let text = |cell: Option<String>| cell.unwrap_or_default();
        let (measured, interval, verdict) = match &self.estimate {
            Ok(Estimate { value, low, high }) => (
                format!("{} {}", self.unit.number(*value), self.unit.symbol()),
                (low != high).then(|| format!("{} – {}", self.unit.number(*low), self.unit.number(*high))),
                self.verdict().map(|verdict| verdict.to_string()),
            ),
            Err(_) => ("–".to_owned(), None, Some("not measured".to_owned())),
        };
        let noise = self
            .noise
            .map(|noise| format!("{:.3} ± {:.3}", noise.value, noise.half_width()));
        [
            self.what.clone(),
            measured,
            text(interval),
            text(noise),
            text(self.bar.map(|bar| format!("{bar} {}", self.unit.symbol()))),
            text(verdict),
            format!("{} in {}", self.samples, self.rounds),
        ]
    }

    /// The row as JSON.
    pub fn json(&self) -> Value {
        let estimate = |estimate: &Estimate| json!({"value": estimate.value, "low": estimate.low, "high": estimate.high});
        let bar = self.bar.map(|bar| match bar {
            Bar::AtMost(bar) => json!({"at_most": bar}),
            Bar::AtLeast(bar) => json!({"at_least": bar}),
        });
        json!({
            "id": self.id,
            "what": self.what,
            "unit": self.unit.symbol(),
            "measured": self.estimate.as_ref().ok().map(estimate),
            "absent": self.absence(),
            "a_against_a": self.noise.as_ref().map(estimate),
            "bar": bar,
            "verdict": self.verdict().map(|verdict| verdict.to_string()),
            "samples": self.samples,
            "rounds": self.rounds,
        })
    }
}

impl Unit {
    fn symbol(self) -> &'static str {
        match self {
            Self::Times => "×",
            Self::Count => "",
            Self::Percent => "%",
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Nanoseconds => "ns",
            Self::PerSecond => "/s",
            Self::Bytes => "B",
            Self::Kibibytes => "KiB",
            Self::Megabytes => "MB",
            Self::MegabytesPerSecond => "MB/s",
        }
    }

    fn number(self, value: f64) -> String {
        match self {
            Self::Times | Self::Milliseconds => format!("{value:.3}"),
            Self::Percent => format!("{value:.2}"),
            Self::Microseconds | Self::Nanoseconds | Self::Megabytes | Self::Kibibytes => {
                format!("{value:.1}")
            }
            Self::Count | Self::PerSecond | Self::Bytes | Self::MegabytesPerSecond => format!("{value:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_row_has_a_reason_and_no_verdict() {
        let row = Row::absent("a", "a row", Unit::Times, "no sshd").bar(Some(Bar::AtMost(1.0)));
        assert_eq!(row.verdict(), None);
        assert_eq!(row.absence(), Some("no sshd"));
        assert_eq!(row.cells()[5], "not measured");
        assert_eq!(row.json()["measured"], Value::Null);
        assert_eq!(row.problem().unwrap(), "not measured: a row: no sshd");
    }

    fn between(low: f64, high: f64) -> Estimate {
        Estimate {
            value: (low + high) / 2.0,
            low,
            high,
        }
    }

    #[test]
    fn a_ratio_whose_a_against_a_excludes_1_has_no_pass_but_a_problem() {
        let row = |noise| {
            let ratio = Row::once("a", "a row", Unit::Times, between(1.0, 1.1));
            ratio.noise(noise).bar(Some(Bar::AtMost(1.4)))
        };
        assert_eq!(row(between(0.99, 1.01)).verdict(), Some(Verdict::Pass));
        assert_eq!(row(between(0.99, 1.01)).problem(), None);
        let row = row(between(1.01, 1.03));
        assert_eq!(row.cells()[5], "not judgeable");
        let problem = row.problem().unwrap();
        assert!(
            problem.starts_with(
                "not judgeable: a row: A against A is within 1.0100 – 1.0300, which excludes 1:"
            )
        );
    }

    #[test]
    fn a_difference_is_judged_around_0() {
        let row = |noise| {
            let difference = Row::once("a", "a row", Unit::Milliseconds, between(0.1, 0.2));
            difference.noise(noise).bar(Some(Bar::AtMost(0.4)))
        };
        assert_eq!(row(between(-0.01, 0.01)).verdict(), Some(Verdict::Pass));
        let excluded = row(between(0.01, 0.02));
        assert_eq!(excluded.verdict(), Some(Verdict::NotJudgeable));
        assert!(excluded.problem().unwrap().contains("which excludes 0:"));
    }

    #[test]
    fn a_failed_row_says_what_it_measured_and_its_bar() {
        let row = Row::once("a", "a row", Unit::Times, between(1.0, 1.5)).bar(Some(Bar::AtMost(1.4)));
        let problem = row.problem().unwrap();
        assert_eq!(
            problem,
            "FAIL: a row: 1.250 × (within 1.000 – 1.500), but the bar is ≤ 1.4 ×"
        );
    }

    #[test]
    fn nan_fails_its_bar() {
        let row = Row::once("a", "a row", Unit::Times, Estimate::exact(f64::NAN)).bar(Some(Bar::AtMost(1.0)));
        assert_eq!(row.verdict(), Some(Verdict::Fail));
    }
}
