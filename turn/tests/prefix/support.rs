//! Requests in short form.

use baton_turn::prefix::{Declaration, Section, Stability};

/// `a` to `f` are stable, `v` and `w` volatile, everything else is undeclared.
pub(crate) fn declaration() -> Declaration {
    let stable = ["a", "b", "c", "d", "e", "f"].map(|name| (name, Stability::Stable));
    let volatile = ["v", "w"].map(|name| (name, Stability::Volatile));
    Declaration::new(stable.into_iter().chain(volatile)).unwrap()
}

/// A request in short form: `a1 b v7` has sections `a`, `b` and `v` with the contents `1`, nothing and `7`.
pub(crate) fn request(sections: &str) -> Vec<Section<'_>> {
    sections
        .split_whitespace()
        .map(|section| Section::text(&section[..1], &section[1..]))
        .collect()
}
