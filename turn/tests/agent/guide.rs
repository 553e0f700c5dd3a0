//! The guide quotes the example, so that its code compiles and runs.

use std::fs;
use std::path::Path;

/// Without indentation, which differs between a page and an `impl`.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

#[test]
fn the_guide_quotes_the_example() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(crate_folder.join(path)).expect(path);
    let (page, example) = (read("../docs/guide/agent.md"), read("examples/agent/agent.rs"));
    let example = lines(&example);
    let quotes = page.split("```rust\n").skip(1);
    let quotes: Vec<_> = quotes.filter_map(|rest| rest.split("```").next()).collect();
    assert!(quotes.len() >= 2);
    for quote in &quotes {
        let quoted = lines(quote);
        assert!(
            example.windows(quoted.len()).any(|window| window == quoted),
            "examples/agent/agent.rs does not have these lines:\n{quote}"
        );
    }
}
