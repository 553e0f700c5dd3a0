//! One row: a number, how sure it is, and what it should be.

use baton_tests::stats::{Bar, Estimate, Rounds, Verdict};
use serde_json::{Value, json};

/// What a row's numbers count.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Times,
    Percent,
    Milliseconds,
    Microseconds,
    PerSecond,
    Bytes,
    /// 10^6 bytes.
    Megabytes,
}

/// One measured number.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its name in JSON, for programs; unique.
    id: String,
    what: String,
    unit: Unit,
    estimate: Estimate,
    /// The ratio of A against A.
    noise: Option<Estimate>,
    bar: Option<Bar>,
    samples: usize,
    rounds: usize,
}

impl Row {
    pub(crate) fn new(
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

    /// A number that was read once.
    pub(crate) fn once(
        id: impl Into<String>,
        what: impl Into<String>,
        unit: Unit,
        estimate: Estimate,
    ) -> Self {
        Self {
            id: id.into(),
            what: what.into(),
            unit,
            estimate,
            noise: None,
            bar: None,
            samples: 1,
            rounds: 1,
        }
    }

    pub(crate) fn noise(self, noise: Estimate) -> Self {
        Self {
            noise: Some(noise),
            ..self
        }
    }

    pub(crate) fn bar(self, bar: Option<Bar>) -> Self {
        Self { bar, ..self }
    }

    /// Its verdict, if it has a bar.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let noise = self.noise.map_or(0.0, |noise| noise.half_width());
        Some(self.bar?.judge(&self.estimate, noise))
    }

    /// Its cells in the table.
    pub(super) fn cells(&self) -> [String; 7] {
        let Estimate { value, low, high } = self.estimate;
        let interval = if low == high {
            String::new()
        } else {
            format!("{} – {}", self.unit.number(low), self.unit.number(high))
        };
        let noise = self.noise.map_or_else(String::new, |noise| {
            format!("{:.3} ± {:.3}", noise.value, noise.half_width())
        });
        let text = |cell: Option<String>| cell.unwrap_or_default();
        [
            self.what.clone(),
            format!("{} {}", self.unit.number(value), self.unit.symbol()),
            interval,
            noise,
            text(self.bar.map(|bar| format!("{bar} {}", self.unit.symbol()))),
            text(self.verdict().map(|verdict| verdict.to_string())),
            format!("{} in {}", self.samples, self.rounds),
        ]
    }

    /// All of it, for programs.
    pub(super) fn json(&self) -> Value {
        let estimate = |estimate: &Estimate| json!({"value": estimate.value, "low": estimate.low, "high": estimate.high});
        let bar = self.bar.map(|bar| match bar {
            Bar::AtMost(bar) => json!({"at_most": bar}),
            Bar::AtLeast(bar) => json!({"at_least": bar}),
        });
        json!({
            "id": self.id,
            "what": self.what,
            "unit": self.unit.symbol(),
            "measured": estimate(&self.estimate),
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
            Self::Percent => "%",
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::PerSecond => "/s",
            Self::Bytes => "B",
            Self::Megabytes => "MB",
        }
    }

    fn number(self, value: f64) -> String {
        match self {
            Self::Times | Self::Milliseconds => format!("{value:.3}"),
            Self::Percent => format!("{value:.2}"),
            Self::Microseconds | Self::Megabytes => format!("{value:.1}"),
            Self::PerSecond | Self::Bytes => format!("{value:.0}"),
        }
    }
}
