//! Which sections are stable.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits::{PREFIX_SECTIONS_MAX, SECTION_NAME_MAX};
use crate::text;

/// Whether a section is the same in every request of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stability {
    /// It is. Each message of a conversation is stable, too: once sent, it does not change.
    Stable,
    /// It may differ: a question, a time, a random id.
    Volatile,
}

/// Why a declaration was refused. The caller is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclareError {
    /// Nothing is declared.
    #[error("the declaration has no section; declare each section of the request")]
    Empty,
    /// More than [`PREFIX_SECTIONS_MAX`] sections are declared.
    #[error("more than {PREFIX_SECTIONS_MAX} declared sections; give sections of one kind one name")]
    TooMany,
    /// A name is unusable.
    #[error("the name of declared section {index} {fault}; use a short plain name like `system`")]
    Name {
        /// The section's place in the declaration, from 0.
        index: usize,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// A name is declared twice.
    #[error("section `{name}` is declared twice; declare each name once, and use it for several sections")]
    Repeated {
        /// The name.
        name: String,
    },
}

/// What is wrong with the name of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameFault {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It has more than [`SECTION_NAME_MAX`] bytes.
    #[error("has more than {SECTION_NAME_MAX} bytes")]
    TooLong,
    /// It has characters that control a terminal.
    #[error("has control characters")]
    Control,
}

/// The sections that a caller's requests may have, by name. A section that is not declared is reported, and treated as
/// volatile.
#[derive(Debug, Clone)]
pub struct Declaration(HashMap<Arc<str>, Stability>);

impl Declaration {
    /// Declares the sections. Their order here does not count; that of each request does.
    ///
    /// # Errors
    /// [`DeclareError`], at the first section that it applies to.
    pub fn new<N: AsRef<str>>(
        sections: impl IntoIterator<Item = (N, Stability)>,
    ) -> Result<Self, DeclareError> {
        let mut declared = HashMap::new();
        for (index, (name, stability)) in sections.into_iter().enumerate() {
            if index >= PREFIX_SECTIONS_MAX {
                return Err(DeclareError::TooMany);
            }
            let name = name.as_ref();
            if let Some(fault) = fault_of(name) {
                return Err(DeclareError::Name { index, fault });
            }
            if declared.insert(Arc::from(name), stability).is_some() {
                let name = name.to_owned();
                return Err(DeclareError::Repeated { name });
            }
        }
        match declared.is_empty() {
            true => Err(DeclareError::Empty),
            false => Ok(Self(declared)),
        }
    }

    /// What is declared of this section.
    pub fn stability(&self, name: &str) -> Option<Stability> {
        self.0.get(name).copied()
    }

    /// The declared name and its stability.
    pub(super) fn find(&self, name: &str) -> Option<(&Arc<str>, Stability)> {
        self.0
            .get_key_value(name)
            .map(|(name, stability)| (name, *stability))
    }
}

fn fault_of(name: &str) -> Option<NameFault> {
    match name {
        "" => Some(NameFault::Empty),
        name if name.len() > SECTION_NAME_MAX => Some(NameFault::TooLong),
        name if !text::is_printable(name) => Some(NameFault::Control),
        _ => None,
    }
}
