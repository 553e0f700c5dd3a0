//! A child's environment, in the operating system's format.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::sync::Arc;

/// A variable: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    text: CString,
    name_bytes: usize,
}

impl Variable {
    /// `None` if one of them holds a NUL.
    pub fn new(name: &[u8], value: &[u8]) -> Option<Self> {
        Some(Self {
            text: CString::new([name, b"=", value].concat()).ok()?,
            name_bytes: name.len(),
        })
    }

    /// The name, before the `=`.
    pub fn name(&self) -> &[u8] {
        &self.text.as_bytes()[..self.name_bytes]
    }

    /// The value, after the `=`.
    pub fn value(&self) -> &[u8] {
        &self.text.as_bytes()[self.name_bytes + 1..]
    }
}

/// The environment of one child: variables that all children share, and its own.
#[derive(Debug)]
pub struct Environment {
    /// `None` when nothing is inherited.
    inherited: Option<Arc<[Variable]>>,
    own: Vec<Variable>,
}

impl Environment {
    /// A variable of `own` overrides an inherited one of its name. Of several variables with the same name in `own` the
    /// last one counts.
    pub fn new(inherited: Option<Arc<[Variable]>>, own: Vec<Variable>) -> Self {
        Self { inherited, own }
    }

    fn inherited(&self) -> &[Variable] {
        self.inherited.as_deref().unwrap_or_default()
    }

    /// The value of a variable in the child.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        let named = |variable: &&Variable| variable.name() == name.as_bytes();
        let own = self.own.iter().rev().find(named);
        let variable = own.or_else(|| self.inherited().iter().find(named));
        variable.map(Variable::value)
    }

    /// All of it, each name once.
    pub fn strings(&self) -> Vec<&CStr> {
        let mut overridden = HashSet::with_capacity(self.own.len());
        let own = self.own.iter().rev();
        let mut strings: Vec<_> = own
            .filter(|own| overridden.insert(own.name()))
            .map(|own| &*own.text)
            .collect();
        let inherited = self.inherited().iter();
        let inherited = inherited.filter(|variable| !overridden.contains(variable.name()));
        strings.extend(inherited.map(|variable| &*variable.text));
        strings
    }
}
