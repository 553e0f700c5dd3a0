//! Compares each request of a conversation with the one before.

use std::time::{Duration, Instant};

use crate::prefix::check::{CheckError, PrefixCheck, PrefixReason};
use crate::prefix::comparison::{StableSection, StableSections, drift};
use crate::prefix::declaration::Declaration;
use crate::prefix::section::Section;

/// Guards the prefix of one conversation: one guard per conversation, beside its thread.
///
/// It keeps the names and fingerprints of the last prefix, at most 128 KiB, and no content. A check hashes the stable
/// sections, at about a gigabyte a second, and copies nothing.
#[derive(Debug, Clone)]
pub struct PrefixGuard {
    declaration: Declaration,
    ttl: Option<Duration>,
    previous: Option<Previous>,
}

#[derive(Debug, Clone)]
struct Previous {
    at: Instant,
    prefix: Vec<StableSection>,
}

impl PrefixGuard {
    /// A conversation without requests.
    pub fn new(declaration: Declaration) -> Self {
        Self {
            declaration,
            ttl: None,
            previous: None,
        }
    }

    /// Sets how long the provider's cache keeps a prefix after its last use. A request at exactly this time, or later,
    /// has the reason [`PrefixReason::TtlExpired`]. Without it no request has.
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self {
            ttl: Some(ttl),
            ..self
        }
    }

    /// Replaces the declaration, for requests from now on.
    pub fn declare(&mut self, declaration: Declaration) {
        self.declaration = declaration;
    }

    /// Compares a request that is sent now, by tokio's clock, with the previous one, and keeps it as the previous one.
    ///
    /// # Errors
    /// [`CheckError`]; the guard is unchanged then.
    pub fn check(&mut self, sections: &[Section<'_>]) -> Result<PrefixCheck, CheckError> {
        self.check_at(sections, tokio::time::Instant::now().into_std())
    }

    /// [`check`](Self::check) of a request that is sent at `now`.
    ///
    /// # Errors
    /// As there.
    pub fn check_at(&mut self, sections: &[Section<'_>], now: Instant) -> Result<PrefixCheck, CheckError> {
        let read = StableSections::of(&self.declaration, sections)?;
        let is_expired = |previous: &Previous| {
            let age = now.saturating_duration_since(previous.at);
            self.ttl.is_some_and(|ttl| age >= ttl)
        };
        let (reason, drift) = match (&self.previous, &read.undeclared) {
            (Some(previous), _) if is_expired(previous) => (PrefixReason::TtlExpired, None),
            (_, Some(undeclared)) => (PrefixReason::UndeclaredSection, Some(undeclared.clone())),
            (None, None) => (PrefixReason::FirstRequest, None),
            (Some(previous), None) => match drift(&previous.prefix, &read, sections, &self.declaration) {
                Some((reason, section)) => (reason, Some(section)),
                None => match read.interruption(sections) {
                    Some(volatile) => (PrefixReason::VolatileInPrefix, Some(volatile)),
                    None if read.prefix.len() > previous.prefix.len() => (PrefixReason::Extended, None),
                    None => (PrefixReason::Unchanged, None),
                },
            },
        };
        let check = PrefixCheck {
            fingerprint: read.fingerprint(),
            stable_sections: read.prefix.len(),
            reason,
            drift,
            undeclared: read.undeclared,
        };
        self.previous = Some(Previous {
            at: now,
            prefix: read.prefix,
        });
        Ok(check)
    }
}
