//! Requests and declarations out of bounds.

use baton_turn::limits::{PREFIX_BYTES_MAX, PREFIX_SECTIONS_MAX, SECTION_NAME_MAX};
use baton_turn::prefix::{
    CheckError, Declaration, DeclareError, NameFault, PrefixGuard, PrefixReason, Section, Stability,
};

use crate::support::{declaration, request};

fn declare(names: &[&str]) -> Option<DeclareError> {
    Declaration::new(names.iter().map(|name| (name, Stability::Stable))).err()
}

#[test]
fn a_declaration_has_some_bounded_distinct_printable_names() {
    let name = |index, fault| Some(DeclareError::Name { index, fault });
    assert_eq!(declare(&[]), Some(DeclareError::Empty));
    assert_eq!(declare(&["a", ""]), name(1, NameFault::Empty));
    assert_eq!(declare(&["a\nb"]), name(0, NameFault::Control));
    assert_eq!(declare(&["\u{202e}a"]), name(0, NameFault::Control));
    assert_eq!(declare(&[&"x".repeat(SECTION_NAME_MAX)]), None);
    assert_eq!(
        declare(&[&"x".repeat(SECTION_NAME_MAX + 1)]),
        name(0, NameFault::TooLong)
    );
    let name = "a".to_owned();
    assert_eq!(declare(&["a", "b", "a"]), Some(DeclareError::Repeated { name }));
    // Endless: it ends at the bound.
    let endless = (0_u64..).map(|number| (number.to_string(), Stability::Stable));
    assert_eq!(Declaration::new(endless).err(), Some(DeclareError::TooMany));
}

#[test]
fn a_request_without_sections_or_with_too_many_is_refused_and_changes_nothing() {
    let mut guard = PrefixGuard::new(declaration());
    guard.check(&request("a b")).unwrap();
    assert_eq!(guard.check(&[]), Err(CheckError::NoSections));
    let sections = PREFIX_SECTIONS_MAX + 1;
    let many = vec![Section::text("c", "x"); sections];
    assert_eq!(guard.check(&many), Err(CheckError::TooManySections { sections }));
    assert_eq!(
        guard.check(&request("a b")).unwrap().reason,
        PrefixReason::Unchanged
    );

    let check = guard.check(&many[1..]).unwrap();
    assert_eq!(check.stable_sections, PREFIX_SECTIONS_MAX);
}

#[test]
fn a_huge_request_is_refused_before_it_is_hashed() {
    // One buffer many times: nothing of this size is allocated.
    let part = vec![b'x'; 1 << 20];
    let parts = usize::try_from(PREFIX_BYTES_MAX >> 20).unwrap();
    let huge = vec![Section::bytes("a", &part[..]); parts + 1];
    let mut guard = PrefixGuard::new(declaration());
    let bytes = PREFIX_BYTES_MAX + (1 << 20);
    assert_eq!(guard.check(&huge), Err(CheckError::TooLarge { bytes }));
}

#[test]
fn the_name_of_an_undeclared_section_is_shown_short_and_printable() {
    let hostile = format!("\x1b[2J\r\n{}", "é".repeat(1 << 20));
    let mut guard = PrefixGuard::new(declaration());
    let check = guard
        .check(&[Section::text(&hostile[..], "x"), Section::text("", "y")])
        .unwrap();
    let name = check.drift.unwrap().name;
    assert!(
        name.len() <= SECTION_NAME_MAX && name.starts_with("[2J"),
        "{name}"
    );
    let check = guard.check(&[Section::text("", "y")]).unwrap();
    assert_eq!(check.drift.unwrap().name, "unnamed");
}
