//! How much a test does, and from which seed: said on stdout, so that a failure can be repeated.

/// The amount for `cargo test`, or with `BATON_TEST_FULL=1` (`bash .ci/run --full`) the amount that was promised. Says which.
pub fn amount(of: &str, usual: u64, full: u64) -> u64 {
    let amount = if is_full() { full } else { usual };
    println!("{of}: {amount}");
    amount
}

/// Whether the promised amounts are asked for.
pub fn is_full() -> bool {
    std::env::var("BATON_TEST_FULL").is_ok_and(|value| value == "1")
}

/// The seed of a random test: `BATON_TEST_SEED`, or a new one. Says which.
///
/// # Panics
/// If `BATON_TEST_SEED` is no number.
pub fn seed() -> u64 {
    let seed = match std::env::var("BATON_TEST_SEED") {
        Ok(seed) => seed.parse().expect("BATON_TEST_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("BATON_TEST_SEED={seed}");
    seed
}
