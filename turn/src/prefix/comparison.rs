//! Compares the prefixes of two requests.

use std::sync::Arc;

use crate::limits::{PREFIX_BYTES_MAX, PREFIX_SECTIONS_MAX};
use crate::prefix::check::{CheckError, DriftedSection, PrefixReason};
use crate::prefix::declaration::{Declaration, Stability};
use crate::prefix::fingerprint::Fingerprint;
use crate::prefix::section::Section;

/// A stable section, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StableSection {
    pub(super) name: Arc<str>,
    pub(super) fingerprint: Fingerprint,
}

/// The stable sections of one request.
#[derive(Debug)]
pub(super) struct StableSections {
    /// The leading run.
    pub(super) prefix: Vec<StableSection>,
    /// Those behind a volatile section, with their places in the request.
    pub(super) behind: Vec<(usize, StableSection)>,
    /// The first section that is not declared.
    pub(super) undeclared: Option<DriftedSection>,
}

/// A difference that costs something.
pub(super) type Drift = (PrefixReason, DriftedSection);

impl StableSections {
    /// Checks the bounds of a request, and reads its sections.
    pub(super) fn of(declaration: &Declaration, sections: &[Section<'_>]) -> Result<Self, CheckError> {
        if sections.is_empty() {
            return Err(CheckError::NoSections);
        }
        if sections.len() > PREFIX_SECTIONS_MAX {
            let sections = sections.len();
            return Err(CheckError::TooManySections { sections });
        }
        let bytes = sections.iter().map(Section::len).fold(0, u64::saturating_add);
        if bytes > PREFIX_BYTES_MAX {
            return Err(CheckError::TooLarge { bytes });
        }
        let mut read = Self {
            prefix: Vec::new(),
            behind: Vec::new(),
            undeclared: None,
        };
        let mut is_prefix = true;
        for (index, section) in sections.iter().enumerate() {
            let declared = declaration.find(section.name());
            if declared.is_none() && read.undeclared.is_none() {
                read.undeclared = Some(DriftedSection::new(section.name(), index));
            }
            let Some((name, Stability::Stable)) = declared else {
                is_prefix = false;
                continue;
            };
            let stable = StableSection {
                name: name.clone(),
                fingerprint: Fingerprint::of_section(section),
            };
            match is_prefix {
                true => read.prefix.push(stable),
                false => read.behind.push((index, stable)),
            }
        }
        Ok(read)
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_prefix(self.prefix.iter().map(|section| section.fingerprint))
    }

    /// The section that ends the prefix, if a stable one follows it.
    pub(super) fn interruption(&self, sections: &[Section<'_>]) -> Option<DriftedSection> {
        let ends_at = self.prefix.len();
        let volatile = sections.get(ends_at).filter(|_| !self.behind.is_empty())?;
        Some(DriftedSection::new(volatile.name(), ends_at))
    }
}

/// The first section in which the prefix of `now` differs from `before`. `None` if `before` is the start of it.
///
/// Sections with the same name are told apart by their content, others by their names.
pub(super) fn drift(
    before: &[StableSection],
    now: &StableSections,
    sections: &[Section<'_>],
    declaration: &Declaration,
) -> Option<Drift> {
    let index = before
        .iter()
        .zip(&now.prefix)
        .take_while(|(old, new)| old == new)
        .count();
    // Without one, the previous prefix is the start of this one.
    let old = before.get(index)?;
    let at_fault = |reason, name: &str| Some((reason, DriftedSection::new(name, index)));

    if declaration.stability(&old.name) == Some(Stability::Volatile) {
        return at_fault(PrefixReason::BecameVolatile, &old.name);
    }
    let is_old_sent = sections[index..]
        .iter()
        .any(|section| section.name() == &*old.name);
    let Some(new) = now.prefix.get(index) else {
        // The prefix ends here, by a volatile section or by the end of the request.
        return match sections.get(index).filter(|_| is_old_sent) {
            Some(volatile) => at_fault(PrefixReason::VolatileInPrefix, volatile.name()),
            None => at_fault(PrefixReason::SectionRemoved, &old.name),
        };
    };
    let (later_before, later_now) = (&before[index + 1..], &now.prefix[index + 1..]);
    let is_same_name = old.name == new.name;
    let (was_new_later, is_old_later) = match is_same_name {
        true => (later_before.contains(new), later_now.contains(old)),
        false => (
            later_before.iter().any(|section| section.name == new.name),
            is_old_sent,
        ),
    };
    match (was_new_later, is_old_later) {
        (true, true) => at_fault(PrefixReason::SectionReordered, &new.name),
        (false, true) => at_fault(PrefixReason::SectionAdded, &new.name),
        (false, false) if is_same_name => at_fault(PrefixReason::ContentChanged, &new.name),
        (_, false) => at_fault(PrefixReason::SectionRemoved, &old.name),
    }
}
