//! Fails a test whose requests would lose a provider's cache.

use crate::prefix::check::{CheckError, DriftedSection, PrefixReason};
use crate::prefix::comparison::{StableSections, drift};
use crate::prefix::declaration::Declaration;
use crate::prefix::fingerprint::Fingerprint;
use crate::prefix::section::Section;

/// Why the requests of a test are not stable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnstablePrefix {
    /// A stable section, or the prefix, depends on the input.
    #[error(
        "section `{}` (section {} of the request) is declared stable and differs between input 0 and input {input}: \
         {}. Move what depends on the input into a section that is declared volatile and comes after the stable ones, \
         or declare `{}` volatile", .section.name, .section.index, .reason.as_str(), .section.name
    )]
    StableSectionChanged {
        /// The section.
        section: DriftedSection,
        /// How it differs.
        reason: PrefixReason,
        /// The input whose request differs from that of input 0.
        input: usize,
    },
    /// A volatile section stands in the prefix with one input and not with another.
    #[error(
        "volatile section `{}` (section {} of the request) comes before stable sections with input {input}, and not \
         with input {other}. Send it after the stable sections", .section.name, .section.index
    )]
    VolatileInPrefix {
        /// The volatile section.
        section: DriftedSection,
        /// The input with which it stands there.
        input: usize,
        /// The input with which it does not.
        other: usize,
    },
    /// A section is not declared.
    #[error(
        "section `{}` (section {} of the request) of input {input} is not declared. Add it to the declaration: stable \
         if it is the same in every request of a conversation, else volatile, and then send it after the stable ones",
        .section.name, .section.index
    )]
    UndeclaredSection {
        /// The section.
        section: DriftedSection,
        /// The input.
        input: usize,
    },
    /// No two requests were compared.
    #[error("{inputs} input proves nothing; give two or more that differ in everything that may vary")]
    TooFewInputs {
        /// How many were given.
        inputs: usize,
    },
    /// A request is out of bounds.
    #[error("the request of input {input} cannot be checked: {source}")]
    Request {
        /// The input.
        input: usize,
        /// What is wrong.
        source: CheckError,
    },
}

/// Asserts in a test that no volatile input reaches a stable section, and that every section is declared.
///
/// `build` makes the request of one input: a time, a user, a random id, whatever varies from one request to the next.
/// All requests must have the same prefix, and the same stable sections behind it. Give inputs that differ in
/// everything that may vary; what is the same in all of them is not tested.
///
/// ```
/// use baton_turn::prefix::{Declaration, Section, Stability, assert_stable};
///
/// let declaration = Declaration::new([
///     ("system", Stability::Stable),
///     ("date", Stability::Volatile),
/// ])
/// .unwrap();
/// assert_stable(&declaration, ["Monday", "Tuesday"], |day| {
///     vec![Section::text("system", "You are terse."), Section::text("date", day)]
/// });
/// ```
///
/// ```should_panic
/// # use baton_turn::prefix::{Declaration, Section, Stability, assert_stable};
/// # let declaration = Declaration::new([("system", Stability::Stable)]).unwrap();
/// assert_stable(&declaration, ["Monday", "Tuesday"], |day| {
///     vec![Section::text("system", format!("You are terse. It is {day}."))]
/// });
/// ```
///
/// # Panics
/// With the message of [`UnstablePrefix`], which names the section and says what to do.
#[track_caller]
pub fn assert_stable<'a, I>(
    declaration: &Declaration,
    inputs: impl IntoIterator<Item = I>,
    build: impl FnMut(I) -> Vec<Section<'a>>,
) {
    if let Err(unstable) = check_stable(declaration, inputs, build) {
        panic!("{unstable}");
    }
}

/// [`assert_stable`] without the panic. Returns the fingerprint of the prefix, which a test may compare with a constant
/// to notice each change of it.
///
/// # Errors
/// [`UnstablePrefix`], for the first input that it applies to.
pub fn check_stable<'a, I>(
    declaration: &Declaration,
    inputs: impl IntoIterator<Item = I>,
    mut build: impl FnMut(I) -> Vec<Section<'a>>,
) -> Result<Fingerprint, UnstablePrefix> {
    let mut first: Option<(StableSections, Vec<Section<'a>>)> = None;
    let mut count = 0;
    for (input, value) in inputs.into_iter().enumerate() {
        count = input + 1;
        let sections = build(value);
        let read = StableSections::of(declaration, &sections)
            .map_err(|source| UnstablePrefix::Request { input, source })?;
        if let Some(section) = read.undeclared {
            return Err(UnstablePrefix::UndeclaredSection { section, input });
        }
        match &first {
            None => first = Some((read, sections)),
            Some((before, before_sections)) => {
                compare(before, before_sections, &read, &sections, declaration, input)?;
            }
        }
    }
    match first {
        Some((read, _)) if count > 1 => Ok(read.fingerprint()),
        _ => Err(UnstablePrefix::TooFewInputs { inputs: count }),
    }
}

/// Compares in both directions: a prefix that grows for one input shrinks for another.
fn compare(
    before: &StableSections,
    before_sections: &[Section<'_>],
    now: &StableSections,
    sections: &[Section<'_>],
    declaration: &Declaration,
    input: usize,
) -> Result<(), UnstablePrefix> {
    let changed = |reason, section| {
        Err(UnstablePrefix::StableSectionChanged {
            section,
            reason,
            input,
        })
    };
    match drift(&before.prefix, now, sections, declaration) {
        Some((PrefixReason::VolatileInPrefix, section)) => {
            return Err(UnstablePrefix::VolatileInPrefix {
                section,
                input,
                other: 0,
            });
        }
        Some((reason, section)) => return changed(reason, section),
        None => (),
    }
    if let Some((reason, section)) = drift(&now.prefix, before, before_sections, declaration) {
        return match reason {
            // Seen from the other input: there it is missing.
            PrefixReason::SectionRemoved => changed(PrefixReason::SectionAdded, section),
            PrefixReason::VolatileInPrefix => Err(UnstablePrefix::VolatileInPrefix {
                section,
                input: 0,
                other: input,
            }),
            reason => changed(reason, section),
        };
    }
    // A stable section behind a volatile one is in no prefix. It is declared stable all the same.
    let names = |read: &StableSections| {
        read.behind
            .iter()
            .map(|(_, section)| section.name.clone())
            .collect::<Vec<_>>()
    };
    for ((_, old), (index, new)) in before.behind.iter().zip(&now.behind) {
        if old != new {
            let reason = match names(before) == names(now) {
                true => PrefixReason::ContentChanged,
                false => PrefixReason::SectionReordered,
            };
            return changed(reason, DriftedSection::new(&new.name, *index));
        }
    }
    match (
        before.behind.get(now.behind.len()),
        now.behind.get(before.behind.len()),
    ) {
        (Some((index, gone)), _) => changed(
            PrefixReason::SectionRemoved,
            DriftedSection::new(&gone.name, *index),
        ),
        (_, Some((index, added))) => changed(
            PrefixReason::SectionAdded,
            DriftedSection::new(&added.name, *index),
        ),
        (None, None) => Ok(()),
    }
}
