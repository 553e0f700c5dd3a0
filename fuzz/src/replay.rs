//! Runs targets without a fuzzer: every committed input, then mutations from a printed seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::mutate::mutate;
use crate::{Target, corpus};

/// Mutations of a target in `cargo test`, and with `BATON_TEST_FULL`.
const MUTATIONS: (usize, usize) = (400, 40_000);

/// Mutations of one target end after this time in `cargo test`: slow targets do fewer.
const TIME: Duration = Duration::from_secs(1);

/// Runs a target on its corpus and on mutations of it. `BATON_TEST_SEED` repeats the mutations of a run.
///
/// # Panics
/// As the target does, after printing the input in question.
pub fn replay(target: &Target) {
    corpus::check_seeds(target);
    let inputs = corpus::inputs(target);
    for (name, input) in &inputs {
        try_one(target, input, || format!("fuzz/corpus/{}/{name}", target.name));
    }
    let given = std::env::var("BATON_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| rand::rng().next_u64());
    let full = std::env::var_os("BATON_TEST_FULL").is_some();
    let wanted = if full { MUTATIONS.1 } else { MUTATIONS.0 };
    let mut random = StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let mut done = 0;
    while done < wanted && (full || began.elapsed() < TIME) {
        let (Some((_, input)), Some((_, other))) = (inputs.choose(&mut random), inputs.choose(&mut random))
        else {
            break;
        };
        let mut input = input.clone();
        mutate(&mut random, &mut input, other);
        try_one(target, &input, || {
            format!("mutation {done} of BATON_TEST_SEED={seed}")
        });
        done += 1;
    }
    println!(
        "{}: {} inputs, {done} mutations, BATON_TEST_SEED={seed}",
        target.name,
        inputs.len()
    );
}

fn try_one(target: &Target, input: &[u8], what: impl Fn() -> String) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let shown: String = input
            .iter()
            .take(4096)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        eprintln!(
            "target {} failed on {}, {} bytes: {shown}\nto keep it: write these bytes to a file in fuzz/corpus/{}",
            target.name,
            what(),
            input.len(),
            target.name
        );
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_repeat_by_their_seed_and_differ_by_it() {
        let spoil = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            let mut all = Vec::new();
            for _ in 0..200 {
                let mut bytes = b"a body of some length to be spoilt".to_vec();
                mutate(&mut random, &mut bytes, b"another");
                all.push(bytes);
            }
            all
        };
        assert_eq!(spoil(1), spoil(1));
        assert_ne!(spoil(1), spoil(2));
    }

    #[test]
    fn a_target_that_panics_fails_the_replay() {
        let target = Target {
            name: "none",
            run: |bytes| assert!(bytes.len() < 3, "too long"),
            seeds: Vec::new,
        };
        try_one(&target, b"ab", String::new);
        assert!(catch_unwind(|| try_one(&target, b"abc", String::new)).is_err());
    }
}
