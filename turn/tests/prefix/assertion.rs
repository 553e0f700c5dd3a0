//! The helper for users' tests.

use baton_turn::prefix::{
    Declaration, PrefixReason, Section, Stability, UnstablePrefix, assert_stable, check_stable,
};

use crate::support::{declaration, request};

fn of<'a>(requests: &[&'a str]) -> Result<(), UnstablePrefix> {
    check_stable(&declaration(), requests.iter().copied(), |text: &'a str| {
        request(text)
    })
    .map(|_| ())
}

/// The section, the reason and the input of a changed stable section.
fn changed(requests: &[&str]) -> (String, PrefixReason, usize) {
    match of(requests) {
        Err(UnstablePrefix::StableSectionChanged {
            section,
            reason,
            input,
        }) => (section.name, reason, input),
        other => panic!("{other:?}"),
    }
}

#[test]
fn volatile_sections_may_differ() {
    assert_eq!(of(&["a b v1", "a b v2", "a b v3 w"]), Ok(()));
}

#[test]
fn a_volatile_input_in_a_stable_section_fails() {
    assert_eq!(
        changed(&["a b1 v1", "a b1 v2", "a b2 v3"]),
        ("b".to_owned(), PrefixReason::ContentChanged, 2)
    );
    assert_eq!(
        changed(&["a b v", "a v"]),
        ("b".to_owned(), PrefixReason::SectionRemoved, 1)
    );
    assert_eq!(
        changed(&["a c", "a b c"]),
        ("b".to_owned(), PrefixReason::SectionAdded, 1)
    );
    assert_eq!(
        changed(&["a", "a b"]),
        ("b".to_owned(), PrefixReason::SectionAdded, 1)
    );
    assert_eq!(
        changed(&["a b", "b a"]),
        ("b".to_owned(), PrefixReason::SectionReordered, 1)
    );
}

#[test]
fn a_stable_section_behind_a_volatile_one_is_checked_too() {
    assert_eq!(of(&["v1 a b", "v2 a b"]), Ok(()));
    assert_eq!(
        changed(&["v a1", "v a2"]),
        ("a".to_owned(), PrefixReason::ContentChanged, 1)
    );
    assert_eq!(
        changed(&["v a b", "v a"]),
        ("b".to_owned(), PrefixReason::SectionRemoved, 1)
    );
    assert_eq!(
        changed(&["v a", "v a b"]),
        ("b".to_owned(), PrefixReason::SectionAdded, 1)
    );
}

#[test]
fn a_volatile_section_in_front_for_some_inputs_fails() {
    for (requests, with, without, at) in [
        (["a b", "a v b"], 1, 0, 1),
        (["a v b", "a b"], 0, 1, 1),
        (["a b", "v a b"], 1, 0, 0),
    ] {
        let Err(UnstablePrefix::VolatileInPrefix {
            section,
            input,
            other,
        }) = of(&requests)
        else {
            panic!("{requests:?}");
        };
        assert_eq!((&*section.name, section.index), ("v", at), "{requests:?}");
        assert_eq!((input, other), (with, without), "{requests:?}");
    }
}

#[test]
fn an_undeclared_section_fails() {
    let Err(UnstablePrefix::UndeclaredSection { section, input: 1 }) = of(&["a", "a x"]) else {
        panic!();
    };
    assert_eq!((&*section.name, section.index), ("x", 1));
}

#[test]
fn fewer_than_two_inputs_or_an_empty_request_prove_nothing() {
    assert_eq!(of(&["a"]), Err(UnstablePrefix::TooFewInputs { inputs: 1 }));
    assert_eq!(of(&[]), Err(UnstablePrefix::TooFewInputs { inputs: 0 }));
    assert!(matches!(
        of(&["", ""]),
        Err(UnstablePrefix::Request { input: 0, .. })
    ));
}

#[test]
fn the_fingerprint_of_a_stable_prefix_is_the_guards() {
    let fingerprint = check_stable(&declaration(), ["1", "2"], |v| {
        vec![Section::text("a", "text"), Section::text("v", v)]
    });
    let mut guard = baton_turn::prefix::PrefixGuard::new(declaration());
    let check = guard.check(&[Section::text("a", "text")]).unwrap();
    assert_eq!(fingerprint, Ok(check.fingerprint));
}

/// The message of the panic, when the prompt of an agent has the time in it.
#[test]
fn the_message_names_the_section_and_what_to_do() {
    let declaration = Declaration::new([("system", Stability::Stable)]).unwrap();
    let panic = std::panic::catch_unwind(|| {
        assert_stable(&declaration, [1, 2], |hour| {
            vec![Section::text("system", format!("It is {hour} h."))]
        });
    });
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(
        message,
        "section `system` (section 0 of the request) is declared stable and differs between input 0 and input 1: \
         content_changed. Move what depends on the input into a section that is declared volatile and comes after the \
         stable ones, or declare `system` volatile"
    );
}
