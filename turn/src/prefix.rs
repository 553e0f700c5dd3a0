//! Guards the prefix of a caller's requests that a provider can cache.
//!
//! A provider of models keeps the beginning of a request and charges less for it, and answers sooner, as long as the
//! next request begins with the same bytes. One changed byte near the start loses all of it, and no error says so. The
//! guard does.
//!
//! A caller declares the *sections* of what it sends (a prompt, an environment, an argument list) stable or volatile
//! ([`Declaration`]). The *prefix* of a request is its leading run of stable sections. For each request,
//! [`PrefixGuard`] compares the prefix with that of the conversation's previous request, and reports a [`PrefixCheck`]:
//! the fingerprint, the first section that drifted, and a [reason](PrefixReason) from a closed list. Its attributes
//! belong on the step's span. They hold names of sections and never content.
//!
//! ```
//! use baton_turn::prefix::{Declaration, PrefixGuard, PrefixReason, Section, Stability};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let declaration = Declaration::new([
//!     ("tools", Stability::Stable),
//!     ("system", Stability::Stable),
//!     ("message", Stability::Stable),
//!     ("question", Stability::Volatile),
//! ])?;
//! let mut guard = PrefixGuard::new(declaration);
//! let tools = Section::list("tools", ["read_file", "run"]);
//!
//! let check = guard.check(&[tools.clone(), Section::text("system", "You are terse.")])?;
//! assert_eq!(check.reason, PrefixReason::FirstRequest);
//!
//! // The date in a stable section: the provider's cache is lost each day.
//! let check = guard.check(&[tools, Section::text("system", "You are terse. Today is the 8th.")])?;
//! assert_eq!(check.reason, PrefixReason::ContentChanged);
//! assert_eq!(check.drift.unwrap().name, "system");
//! # Ok(())
//! # }
//! ```
//!
//! * [`assert_stable`] fails a test when a volatile input reaches a stable section, or when a section is undeclared;
//! * [`CacheHits`] has the token-weighted hit rates that the provider's figures show;
//! * [`SimulatedCache`] follows a provider's rule, so that a test can predict those figures.
//!
//! A fingerprint is SipHash-2-4 with 128 bits under a fixed public key. It finds accidents. It is not cryptographic:
//! whoever chooses the content can make two contents with one fingerprint, and can guess short content from it.

mod assertion;
mod attribute;
mod check;
mod comparison;
mod declaration;
mod fingerprint;
mod guard;
mod hits;
mod section;
mod simulation;

pub use assertion::{UnstablePrefix, assert_stable, check_stable};
pub use check::{CheckError, DriftedSection, PrefixCheck, PrefixReason};
pub use declaration::{Declaration, DeclareError, NameFault, Stability};
pub use fingerprint::Fingerprint;
pub use guard::PrefixGuard;
pub use hits::{CacheHits, HitRate, HitRateUnavailable, UsageError};
pub use section::Section;
pub use simulation::{CacheMode, CacheRule, SimulatedCache};
