//! Each reason of the closed list.

use std::time::{Duration, Instant};

use baton_turn::prefix::{Declaration, PrefixCheck, PrefixGuard, PrefixReason, Section, Stability};
use tokio::time::advance;

use crate::support::{declaration, request};

/// The checks of these requests of one conversation.
fn checks(requests: &[&str]) -> Vec<PrefixCheck> {
    let mut guard = PrefixGuard::new(declaration());
    let mut check = |text| guard.check_at(&request(text), Instant::now()).unwrap();
    requests.iter().map(|text| check(*text)).collect()
}

/// The reason of the second of two requests, and the section at fault with its place.
fn second(before: &str, now: &str) -> (PrefixReason, Option<(String, usize)>) {
    let check = checks(&[before, now]).pop().unwrap();
    (check.reason, check.drift.map(|drift| (drift.name, drift.index)))
}

fn at_fault(reason: PrefixReason, name: &str, index: usize) -> (PrefixReason, Option<(String, usize)>) {
    (reason, Some((name.to_owned(), index)))
}

#[test]
fn the_first_request_has_nothing_to_drift_from() {
    let [check] = &checks(&["a b v1"])[..] else {
        panic!()
    };
    assert_eq!(
        (check.reason, check.drift.clone()),
        (PrefixReason::FirstRequest, None)
    );
    assert_eq!(check.stable_sections, 2);
}

#[test]
fn a_volatile_section_behind_the_prefix_may_change() {
    let [first, second] = &checks(&["a b v1", "a b v2 w"])[..] else {
        panic!()
    };
    assert_eq!(
        (second.reason, second.drift.clone()),
        (PrefixReason::Unchanged, None)
    );
    assert_eq!(first.fingerprint, second.fingerprint);
}

#[test]
fn the_first_section_with_other_content_is_named() {
    let changed = PrefixReason::ContentChanged;
    assert_eq!(second("a b1 c1 v", "a b2 c2 v"), at_fault(changed, "b", 1));
    assert_eq!(second("a1", "a2"), at_fault(changed, "a", 0));
    // The last of three messages.
    assert_eq!(second("a1 a2 a3", "a1 a2 a4"), at_fault(changed, "a", 2));
}

#[test]
fn a_section_in_front_of_one_of_the_prefix_is_added() {
    assert_eq!(
        second("a c v", "a b c v"),
        at_fault(PrefixReason::SectionAdded, "b", 1)
    );
    assert_eq!(
        second("a1 a2", "a0 a1 a2"),
        at_fault(PrefixReason::SectionAdded, "a", 0)
    );
}

#[test]
fn a_section_that_is_gone_is_removed() {
    let removed = PrefixReason::SectionRemoved;
    assert_eq!(second("a b c v", "a c v"), at_fault(removed, "b", 1));
    assert_eq!(second("a b v", "a v"), at_fault(removed, "b", 1));
    assert_eq!(second("a b", "a"), at_fault(removed, "b", 1));
    assert_eq!(second("a b v", "a c v"), at_fault(removed, "b", 1));
    // A conversation that lost its oldest message.
    assert_eq!(second("a1 a2 a3", "a2 a3"), at_fault(removed, "a", 0));
}

#[test]
fn sections_in_another_order_are_reordered() {
    let reordered = PrefixReason::SectionReordered;
    assert_eq!(second("a b c", "a c b"), at_fault(reordered, "c", 1));
    assert_eq!(second("a1 a2", "a2 a1"), at_fault(reordered, "a", 0));
    assert_eq!(second("a b", "b v a"), at_fault(reordered, "b", 0));
}

#[test]
fn a_volatile_section_before_stable_ones_is_named() {
    let volatile = PrefixReason::VolatileInPrefix;
    assert_eq!(second("a b", "a v b"), at_fault(volatile, "v", 1));
    assert_eq!(second("a b", "v1 a b"), at_fault(volatile, "v", 0));
    // Also where it was there before: the sections behind it are never cached.
    assert_eq!(second("a v1 b", "a v2 b"), at_fault(volatile, "v", 1));
    // A drift comes before it.
    assert_eq!(
        second("a1 v b", "a2 v b"),
        at_fault(PrefixReason::ContentChanged, "a", 0)
    );
}

#[test]
fn a_section_that_is_declared_volatile_later_became_volatile() {
    let mut guard = PrefixGuard::new(declaration());
    guard.check(&request("a b c")).unwrap();
    let sections = ["a", "b", "c"];
    let declared = sections.map(|name| {
        (
            name,
            if name == "b" {
                Stability::Volatile
            } else {
                Stability::Stable
            },
        )
    });
    guard.declare(Declaration::new(declared).unwrap());
    let check = guard.check(&request("a b c")).unwrap();
    assert_eq!(check.reason, PrefixReason::BecameVolatile);
    assert_eq!(check.drift.unwrap().name, "b");
    assert_eq!(check.stable_sections, 1);
}

#[test]
fn an_undeclared_section_is_named_wherever_it_stands() {
    let undeclared = PrefixReason::UndeclaredSection;
    assert_eq!(second("a b v", "a b v x"), at_fault(undeclared, "x", 3));
    assert_eq!(second("a b v", "a x b2 y"), at_fault(undeclared, "x", 1));
    // On the first request as well. It ends the prefix.
    let [check] = &checks(&["a x b"])[..] else {
        panic!()
    };
    assert_eq!((check.reason, check.stable_sections), (undeclared, 1));
    assert_eq!(check.undeclared.clone().unwrap().name, "x");
}

#[test]
fn a_conversation_that_grows_is_extended() {
    let [.., first, second, third] = &checks(&["a b v", "a b c v", "a b c d w"])[..] else {
        panic!()
    };
    assert_eq!(
        (second.reason, second.drift.clone()),
        (PrefixReason::Extended, None)
    );
    assert_eq!((third.reason, third.stable_sections), (PrefixReason::Extended, 4));
    assert_ne!(first.fingerprint, second.fingerprint);
}

#[tokio::test(start_paused = true)]
async fn after_the_ttl_the_prefix_is_not_blamed() {
    let ttl = Duration::from_secs(300);
    let mut guard = PrefixGuard::new(declaration()).with_ttl(ttl);
    guard.check(&request("a1 v")).unwrap();
    advance(ttl).await;
    let check = guard.check(&request("a2 x")).unwrap();
    assert_eq!((check.reason, check.drift), (PrefixReason::TtlExpired, None));
    // Each request renews the lifetime, and is what the next one is compared with.
    advance(ttl - Duration::from_millis(1)).await;
    let check = guard.check(&request("a2 v")).unwrap();
    assert_eq!((check.reason, check.drift), (PrefixReason::Unchanged, None));
    advance(ttl - Duration::from_millis(1)).await;
    let check = guard.check(&request("a3 v")).unwrap();
    assert_eq!(check.reason, PrefixReason::ContentChanged);
}

#[test]
fn attributes_hold_the_name_and_never_content() {
    let secret = "hunter2";
    let mut guard = PrefixGuard::new(declaration());
    let shown = |check: &PrefixCheck| {
        let attributes = check
            .attributes()
            .map(|attribute| format!("{}={}", attribute.key, attribute.value));
        attributes.collect::<Vec<_>>()
    };
    let first = guard.check(&[Section::text("a", secret)]).unwrap();
    assert_eq!(
        shown(&first),
        [
            format!("baton.prefix.fingerprint={}", first.fingerprint),
            "baton.prefix.reason=first_request".to_owned()
        ]
    );
    let second = guard.check(&[Section::list("a", [secret, "3"])]).unwrap();
    assert_eq!(
        shown(&second),
        [
            format!("baton.prefix.fingerprint={}", second.fingerprint),
            "baton.prefix.reason=content_changed".to_owned(),
            "baton.prefix.drift=a".to_owned(),
        ]
    );
    assert!(!format!("{guard:?} {second:?}").contains(secret));
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> =
        PrefixReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), PrefixReason::ALL.len());
}
