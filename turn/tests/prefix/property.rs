//! The guard over random requests.

use std::time::Instant;

use baton_turn::prefix::{PrefixGuard, PrefixReason, Section};
use proptest::prelude::*;

use crate::support::declaration;

/// A name, with its content.
type Part = (&'static str, u8);

fn requests() -> impl Strategy<Value = Vec<Part>> {
    let part = (prop::sample::select(vec!["a", "b", "c", "v", "x"]), 0_u8..2);
    proptest::collection::vec(part, 1..7)
}

fn sections(parts: &[Part]) -> Vec<Section<'static>> {
    parts
        .iter()
        .map(|(name, content)| Section::bytes(*name, vec![*content]))
        .collect()
}

fn prefix(parts: &[Part]) -> &[Part] {
    let stable = parts
        .iter()
        .take_while(|(name, _)| ["a", "b", "c"].contains(name))
        .count();
    &parts[..stable]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_guard_agrees_with_a_comparison_of_the_contents(before in requests(), now in requests()) {
        let mut guard = PrefixGuard::new(declaration());
        let at = Instant::now();
        let first = guard.check_at(&sections(&before), at).unwrap();
        let second = guard.check_at(&sections(&now), at).unwrap();
        let (old, new) = (prefix(&before), prefix(&now));
        prop_assert_eq!(second.stable_sections, new.len());
        prop_assert_eq!(first.fingerprint == second.fingerprint, old == new);

        let undeclared = now.iter().position(|(name, _)| *name == "x");
        prop_assert_eq!(second.undeclared.map(|section| section.index), undeclared);
        let common = old.iter().zip(new).take_while(|(old, new)| old == new).count();
        let is_stable_behind = now[new.len()..].iter().any(|(name, _)| ["a", "b", "c"].contains(name));
        let index = second.drift.as_ref().map(|drift| drift.index);
        match second.reason {
            PrefixReason::UndeclaredSection => prop_assert_eq!((index, undeclared.is_some()), (undeclared, true)),
            _ if undeclared.is_some() => prop_assert!(false, "undeclared"),
            PrefixReason::Unchanged => prop_assert!(old == new && !is_stable_behind && index.is_none()),
            PrefixReason::Extended => {
                prop_assert!(new.len() > old.len() && new.starts_with(old) && !is_stable_behind && index.is_none());
            }
            PrefixReason::VolatileInPrefix if new.starts_with(old) => {
                prop_assert!(is_stable_behind);
                prop_assert_eq!(index, Some(new.len()));
            }
            reason => {
                prop_assert!(!new.starts_with(old), "{:?}", reason);
                prop_assert_eq!(index, Some(common));
                let name = second.drift.unwrap().name;
                match reason {
                    PrefixReason::ContentChanged => {
                        prop_assert_eq!((old[common].0, new[common].0), (&*name, &*name));
                        prop_assert_ne!(old[common].1, new[common].1);
                    }
                    PrefixReason::SectionRemoved => prop_assert_eq!(old[common].0, &*name),
                    PrefixReason::SectionAdded | PrefixReason::SectionReordered => {
                        prop_assert_eq!(new[common].0, &*name);
                    }
                    PrefixReason::VolatileInPrefix => prop_assert_eq!(now[common].0, &*name),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
