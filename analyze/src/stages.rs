//! The names of stages, and suggestions for misspelt ones.

use baton_trace::stage;

/// The time of the envelope that no covering stage accounts for. It is reported like a stage.
pub const REMAINDER: &str = "remainder";

/// The envelope.
pub const ENVELOPE: &str = "call";

/// The names of all stages in the tables, and [`REMAINDER`].
pub fn known() -> Vec<&'static str> {
    let calls = stage::all().map(|row| row.name);
    let background = stage::metadata::STAGES.iter().map(|row| row.name);
    let registered = stage::registered().map(|row| row.name);
    calls
        .chain([REMAINDER])
        .chain(background)
        .chain(registered)
        .collect()
}

/// The place of a stage in the tables; last for one that is in none.
pub fn position(name: &str) -> usize {
    known()
        .iter()
        .position(|known| *known == name)
        .unwrap_or(usize::MAX)
}

/// The nearest of these names, if one is near enough to be meant.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Jaro-Winkler favours a common beginning, which dotted names have.
    let likeness = |known: &'a str| (strsim::jaro_winkler(name, known), known);
    let likenesses = names.map(likeness).filter(|(likeness, _)| *likeness > 0.8);
    likenesses
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_stage_finds_its_name() {
        for (misspelt, name) in [
            ("process.spwan", "process.spawn"),
            ("famliy.session_init", "family.session_init"),
            ("family.session-init", "family.session_init"),
            ("terminal.que", "terminal.queue"),
            ("remainer", "remainder"),
        ] {
            assert_eq!(nearest(misspelt, known().into_iter()), Some(name));
        }
        assert_eq!(nearest("xyzzy", known().into_iter()), None);
    }
}
