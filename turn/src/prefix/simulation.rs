//! A provider's cache, simulated, so that a test predicts its figures.
//!
//! Sections are the unit: a section that differs is a miss from its start, although a provider may serve some blocks of
//! it. So a prediction is a lower bound where sections differ in their middle.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Usage;
use crate::limits::SIMULATED_REQUESTS_MAX;
use crate::prefix::check::CheckError;
use crate::prefix::comparison::StableSections;
use crate::prefix::declaration::Declaration;
use crate::prefix::fingerprint::Fingerprint;
use crate::prefix::section::Section;

/// What a provider stores of a request, and what of it a later request can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheMode {
    /// Every request is stored as a whole. A later one uses the longest common start.
    Automatic,
    /// The caller marks where the cached part ends: after the stable prefix. A later request uses a stored part only as
    /// a whole.
    Breakpoint,
}

/// The rule by which a provider caches. Providers publish theirs and change them; a test states the one that it
/// assumes.
///
/// ```
/// use std::time::Duration;
/// use baton_turn::prefix::{CacheMode, CacheRule};
///
/// // OpenAI, "Prompt caching", 2026: from 1,024 tokens, in steps of 128, for 5 to 10 minutes after the last use.
/// let automatic = CacheRule {
///     minimum_tokens: 1_024,
///     block_tokens: 128,
///     ttl: Duration::from_secs(5 * 60),
///     mode: CacheMode::Automatic,
/// };
/// // Anthropic, "Prompt caching", 2026: from 1,024 tokens with some models, up to a breakpoint, for 5 minutes after
/// // the last use.
/// let breakpoint = CacheRule {
///     block_tokens: 1,
///     mode: CacheMode::Breakpoint,
///     ..automatic
/// };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheRule {
    /// A shorter prefix is neither stored nor served.
    pub minimum_tokens: u64,
    /// Stored and served lengths are multiples of this; 0 counts as 1.
    pub block_tokens: u64,
    /// How long a stored prefix lives after its last use. At exactly this time it is gone.
    pub ttl: Duration,
    /// What is stored.
    pub mode: CacheMode,
}

/// A provider's cache under a rule. Deterministic: time is an argument, or tokio's clock.
#[derive(Debug)]
pub struct SimulatedCache {
    rule: CacheRule,
    /// In the order of their last use.
    stored: VecDeque<Stored>,
}

#[derive(Debug)]
struct Stored {
    sections: Vec<(Fingerprint, u64)>,
    used: Instant,
}

impl SimulatedCache {
    /// An empty cache.
    pub fn new(rule: CacheRule) -> Self {
        Self {
            rule,
            stored: VecDeque::new(),
        }
    }

    /// Predicts the usage of a request that is sent now, by tokio's clock, and stores it. The output tokens are `None`.
    ///
    /// # Errors
    /// [`CheckError`]; the cache is unchanged then.
    pub fn request(
        &mut self,
        declaration: &Declaration,
        sections: &[Section<'_>],
    ) -> Result<Usage, CheckError> {
        self.request_at(declaration, sections, tokio::time::Instant::now().into_std())
    }

    /// [`request`](Self::request) of a request that is sent at `now`.
    ///
    /// # Errors
    /// As there.
    pub fn request_at(
        &mut self,
        declaration: &Declaration,
        sections: &[Section<'_>],
        now: Instant,
    ) -> Result<Usage, CheckError> {
        let stable = StableSections::of(declaration, sections)?;
        let all: Vec<_> = sections
            .iter()
            .map(|section| (Fingerprint::of_section(section), section.tokens()))
            .collect();
        let cacheable = match self.rule.mode {
            CacheMode::Automatic => &all[..],
            CacheMode::Breakpoint => &all[..stable.prefix.len()],
        };
        let ttl = self.rule.ttl;
        self.stored
            .retain(|stored| now.saturating_duration_since(stored.used) < ttl);

        let best = (0..self.stored.len()).max_by_key(|at| self.served(&self.stored[*at], cacheable));
        let read = best.map_or(0, |at| self.served(&self.stored[at], cacheable));
        if let Some(used) = best.filter(|_| read > 0).and_then(|at| self.stored.remove(at)) {
            self.stored.push_back(Stored { used: now, ..used });
        }
        let storable = self.cached(tokens(cacheable));
        if storable > 0 {
            self.stored.retain(|stored| stored.sections != cacheable);
            if self.stored.len() >= SIMULATED_REQUESTS_MAX {
                self.stored.pop_front();
            }
            self.stored.push_back(Stored {
                sections: cacheable.to_vec(),
                used: now,
            });
        }
        let mut usage = Usage::default()
            .cache_read(read)
            .cache_write(storable.saturating_sub(read));
        usage.input_tokens = Some(tokens(&all));
        Ok(usage)
    }

    /// Tokens of a request that this stored one serves.
    fn served(&self, stored: &Stored, request: &[(Fingerprint, u64)]) -> u64 {
        let common = stored
            .sections
            .iter()
            .zip(request)
            .take_while(|(old, new)| old.0 == new.0)
            .count();
        match self.rule.mode {
            CacheMode::Breakpoint if common < stored.sections.len() => 0,
            _ => self.cached(tokens(&request[..common])),
        }
    }

    /// What the rule caches of a prefix of this length.
    fn cached(&self, tokens: u64) -> u64 {
        let blocks = tokens - tokens % self.rule.block_tokens.max(1);
        if blocks < self.rule.minimum_tokens {
            0
        } else {
            blocks
        }
    }
}

fn tokens(sections: &[(Fingerprint, u64)]) -> u64 {
    sections
        .iter()
        .map(|(_, tokens)| *tokens)
        .fold(0, u64::saturating_add)
}
