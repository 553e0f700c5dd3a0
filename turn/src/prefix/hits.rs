//! Token-weighted hit rates of a provider's cache.
//!
//! By the GenAI conventions the input tokens of a request include those that a cache served or stored
//! ([`semconv`](crate::semconv) has the names and the commit: "SHOULD include all types of input tokens, including
//! cached tokens"). So the hit rate of some requests is the sum of their cache reads over the sum of their inputs. A
//! long request counts for more than a short one.

use std::fmt;

use crate::Usage;

/// Why the figures of a request were not counted. The caller is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// The cached tokens are more than the input. Some providers report the input without the cached tokens.
    #[error(
        "{cached} cached of {input} input tokens: by the conventions the input includes the cached tokens; add them"
    )]
    CacheExceedsInput {
        /// Tokens that the cache served and stored.
        cached: u64,
        /// Tokens of the input.
        input: u64,
    },
}

/// Why there is no hit rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum HitRateUnavailable {
    /// No request was recorded.
    #[error("no request")]
    NoRequests,
    /// No recorded request has both figures, input and cache read.
    #[error("the provider reports no figures")]
    NoFigures,
    /// The requests had no input.
    #[error("no input tokens")]
    NoInput,
}

/// A hit rate. It is never 0 for want of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HitRate {
    /// `cache_read_tokens / input_tokens`.
    Measured {
        /// Input tokens that the cache served.
        cache_read_tokens: u64,
        /// Input tokens, cached ones included; above 0.
        input_tokens: u64,
        /// Requests with both figures. Only these are in the sums.
        requests: u64,
        /// Requests without one of them.
        requests_without_figures: u64,
    },
    /// Nothing was measured.
    Unavailable(HitRateUnavailable),
}

impl HitRate {
    /// From 0 to 1; `None` if unavailable.
    pub fn ratio(&self) -> Option<f64> {
        match self {
            Self::Measured {
                cache_read_tokens,
                input_tokens,
                ..
            } => Some(*cache_read_tokens as f64 / *input_tokens as f64),
            Self::Unavailable(_) => None,
        }
    }
}

impl fmt::Display for HitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.ratio()) {
            (Self::Unavailable(why), _) => write!(f, "unavailable: {why}"),
            (Self::Measured { .. }, ratio) => write!(f, "{:.1} %", ratio.unwrap_or_default() * 100.0),
        }
    }
}

/// The figures of one conversation's requests, as its provider reports them.
///
/// ```
/// use baton_turn::Usage;
/// use baton_turn::prefix::CacheHits;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut hits = CacheHits::default();
/// hits.record(&Usage::new(2_000, 10).cache_read(0))?;
/// hits.record(&Usage::new(2_000, 10).cache_read(1_800))?;
/// hits.begin_turn();
/// hits.record(&Usage::new(4_000, 10).cache_read(3_800))?;
/// assert_eq!(hits.within_turn().ratio(), Some(0.95)); // of this turn
/// assert_eq!(hits.across_turns().ratio(), Some(0.7)); // of all
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct CacheHits {
    turn: Tally,
    all: Tally,
    turn_starts: Tally,
    /// Whether the next request is the first of a turn that is not the first.
    is_turn_start: bool,
}

impl CacheHits {
    /// Another turn begins. The first one needs no call.
    pub fn begin_turn(&mut self) {
        self.turn = Tally::default();
        self.is_turn_start = self.all.requests() > 0;
    }

    /// Counts a request of the current turn.
    ///
    /// # Errors
    /// [`UsageError`]; the request is counted as one without figures then.
    pub fn record(&mut self, usage: &Usage) -> Result<(), UsageError> {
        let cached = usage
            .cache_read_input_tokens
            .unwrap_or(0)
            .saturating_add(usage.cache_write_input_tokens.unwrap_or(0));
        let contradiction = usage
            .input_tokens
            .filter(|input| cached > *input)
            .map(|input| UsageError::CacheExceedsInput { cached, input });
        let figures = match contradiction {
            None => usage.cache_read_input_tokens.zip(usage.input_tokens),
            Some(_) => None,
        };
        self.turn.add(figures);
        self.all.add(figures);
        if std::mem::take(&mut self.is_turn_start) {
            self.turn_starts.add(figures);
        }
        contradiction.map_or(Ok(()), Err)
    }

    /// Of the requests of the current turn.
    pub fn within_turn(&self) -> HitRate {
        self.turn.rate()
    }

    /// Of all requests, of every turn.
    pub fn across_turns(&self) -> HitRate {
        self.all.rate()
    }

    /// Of the first request of each turn but the first: what the cache kept from one turn to the next.
    pub fn at_turn_starts(&self) -> HitRate {
        self.turn_starts.rate()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    read: u64,
    input: u64,
    with_figures: u64,
    without_figures: u64,
}

impl Tally {
    fn requests(&self) -> u64 {
        self.with_figures.saturating_add(self.without_figures)
    }

    fn add(&mut self, figures: Option<(u64, u64)>) {
        let Some((read, input)) = figures else {
            self.without_figures = self.without_figures.saturating_add(1);
            return;
        };
        self.with_figures = self.with_figures.saturating_add(1);
        self.read = self.read.saturating_add(read);
        self.input = self.input.saturating_add(input);
    }

    fn rate(&self) -> HitRate {
        let unavailable = match self {
            tally if tally.requests() == 0 => HitRateUnavailable::NoRequests,
            Tally { with_figures: 0, .. } => HitRateUnavailable::NoFigures,
            Tally { input: 0, .. } => HitRateUnavailable::NoInput,
            Tally { .. } => {
                return HitRate::Measured {
                    cache_read_tokens: self.read,
                    input_tokens: self.input,
                    requests: self.with_figures,
                    requests_without_figures: self.without_figures,
                };
            }
        };
        HitRate::Unavailable(unavailable)
    }
}
