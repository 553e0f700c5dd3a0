//! What the guard reports of one request.

use opentelemetry::KeyValue;

use crate::limits::{PREFIX_BYTES_MAX, PREFIX_SECTIONS_MAX, SECTION_NAME_MAX};
use crate::prefix::attribute;
use crate::prefix::fingerprint::Fingerprint;
use crate::text::shown_name;

/// What the comparison of a request's prefix with the previous one found. The first that applies, from the top.
///
/// | reason | drift names | a provider's cache |
/// |---|---|---|
/// | `ttl_expired` | – | has forgotten the prefix |
/// | `undeclared_section` | the first undeclared section | ends before it at the latest |
/// | `first_request` | – | may have nothing |
/// | `became_volatile` to `content_changed` | the first section that differs | serves what lies before it |
/// | `volatile_in_prefix` | the volatile section | ends before it, although stable sections follow |
/// | `extended` | – | serves the previous prefix |
/// | `unchanged` | – | serves the prefix |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrefixReason {
    /// The cache's lifetime had passed since the previous request. The prefix is not blamed, whether it changed or not.
    TtlExpired,
    /// A section is not declared. It may have been lost from, or added to, the request by accident.
    UndeclaredSection,
    /// There is no previous request.
    FirstRequest,
    /// A section of the previous prefix is now declared volatile.
    BecameVolatile,
    /// A section of the previous prefix is gone.
    SectionRemoved,
    /// A section is before one that it was behind.
    SectionReordered,
    /// A stable section stands before one of the previous prefix.
    SectionAdded,
    /// A stable section has other content.
    ContentChanged,
    /// A volatile section stands before a stable one, which therefore cannot be cached.
    VolatileInPrefix,
    /// The previous prefix, and further stable sections behind it: a conversation that grows.
    Extended,
    /// The previous prefix.
    Unchanged,
}

impl PrefixReason {
    /// Every reason, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::TtlExpired,
        Self::UndeclaredSection,
        Self::FirstRequest,
        Self::BecameVolatile,
        Self::SectionRemoved,
        Self::SectionReordered,
        Self::SectionAdded,
        Self::ContentChanged,
        Self::VolatileInPrefix,
        Self::Extended,
        Self::Unchanged,
    ];

    /// The name on a span.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TtlExpired => "ttl_expired",
            Self::UndeclaredSection => "undeclared_section",
            Self::FirstRequest => "first_request",
            Self::BecameVolatile => "became_volatile",
            Self::SectionRemoved => "section_removed",
            Self::SectionReordered => "section_reordered",
            Self::SectionAdded => "section_added",
            Self::ContentChanged => "content_changed",
            Self::VolatileInPrefix => "volatile_in_prefix",
            Self::Extended => "extended",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Why a request was not checked. The guard is as before, and the request can be sent: the guard only watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The request has no section.
    #[error("the request has no section; pass each part of what is sent")]
    NoSections,
    /// The request has more than [`PREFIX_SECTIONS_MAX`] sections.
    #[error("the request has {sections} sections, and {PREFIX_SECTIONS_MAX} are checked; join some of them")]
    TooManySections {
        /// How many it has.
        sections: usize,
    },
    /// The sections have more than [`PREFIX_BYTES_MAX`] bytes.
    #[error(
        "the request has {bytes} bytes, and {PREFIX_BYTES_MAX} are checked; pass digests of large sections"
    )]
    TooLarge {
        /// How many they have.
        bytes: u64,
    },
}

/// A section that a check names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftedSection {
    /// Its name without control characters, at most [`SECTION_NAME_MAX`] bytes.
    pub name: String,
    /// Its place from 0: in the request, or where the section is gone, in the previous one.
    pub index: usize,
}

impl DriftedSection {
    pub(super) fn new(name: &str, index: usize) -> Self {
        Self {
            name: shown_name(name, SECTION_NAME_MAX),
            index,
        }
    }
}

/// What the guard reports of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixCheck {
    /// Of the prefix: the leading run of stable sections, which may be empty.
    pub fingerprint: Fingerprint,
    /// Sections in the prefix.
    pub stable_sections: usize,
    /// What the comparison found.
    pub reason: PrefixReason,
    /// The first section at fault; see the table of [`PrefixReason`].
    pub drift: Option<DriftedSection>,
    /// The first undeclared section, also where the reason is another one.
    pub undeclared: Option<DriftedSection>,
}

impl PrefixCheck {
    /// The attributes of the step's span: `baton.prefix.fingerprint`, `baton.prefix.reason`, and where a section is at
    /// fault `baton.prefix.drift`. None holds content.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue> + use<> {
        let drift = self.drift.as_ref().map(|drift| drift.name.clone());
        [
            KeyValue::new(attribute::FINGERPRINT, self.fingerprint.to_string()),
            KeyValue::new(attribute::REASON, self.reason.as_str()),
        ]
        .into_iter()
        .chain(drift.map(|name| KeyValue::new(attribute::DRIFT, name)))
    }
}
