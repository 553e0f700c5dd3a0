//! The amount of work of a test, and its random seed. Both are printed, so that a failure can be repeated.

/// The number of iterations, bytes or commands of a test: `usual` with `cargo test`, `full` with `BATON_TEST_FULL=1`
/// (`bash .ci/run --full`). Prints `what` and the number.
pub fn scaled(what: &str, usual: u64, full: u64) -> u64 {
    let number = if is_full() { full } else { usual };
    println!("{what}: {number}");
    number
}

/// Whether `BATON_TEST_FULL=1` is set.
pub fn is_full() -> bool {
    std::env::var("BATON_TEST_FULL").is_ok_and(|value| value == "1")
}

/// The seed of a random test: `BATON_TEST_SEED`, or a random one. Prints it.
///
/// # Panics
/// If `BATON_TEST_SEED` is not a number.
pub fn seed() -> u64 {
    let seed = match std::env::var("BATON_TEST_SEED") {
        Ok(seed) => seed.parse().expect("BATON_TEST_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("BATON_TEST_SEED={seed}");
    seed
}
