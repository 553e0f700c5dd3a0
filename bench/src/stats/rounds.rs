//! Samples of one participant, kept by round.

/// The samples of one participant, by round, or by process set. The caller chooses the unit; all samples share it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rounds(Vec<Vec<f64>>);

impl Rounds {
    /// No rounds.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds samples to round number `round`; rounds skipped over are empty.
    pub fn add(&mut self, round: usize, samples: impl IntoIterator<Item = f64>) {
        if self.0.len() <= round {
            self.0.resize_with(round + 1, Vec::new);
        }
        self.0[round].extend(samples);
    }

    /// Number of rounds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no round.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of samples over all rounds.
    pub fn samples(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Replaces the content of `into` by all samples of the rounds with these numbers. A number that occurs twice adds
    /// its samples twice.
    pub(super) fn pool(&self, rounds: impl IntoIterator<Item = usize>, into: &mut Vec<f64>) {
        into.clear();
        for round in rounds {
            into.extend_from_slice(&self.0[round]);
        }
    }
}

impl<const N: usize> From<[&[f64]; N]> for Rounds {
    fn from(rounds: [&[f64]; N]) -> Self {
        Self(rounds.iter().map(|round| round.to_vec()).collect())
    }
}
