//! The generated parts of `docs/STAGES.md` and `docs/METADATA.md` match the code.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use baton_trace::attribute;
use baton_trace::{family, outcome, stage};

const END: &str = "\n<!-- end of the generated part -->";

#[test]
fn the_page_holds_the_tables_of_the_code() {
    assert_generated("STAGES.md", "trace/src/stage", &stage::markdown());
}

#[test]
fn the_page_holds_the_families_of_the_code() {
    assert_generated("STAGES.md", "trace/src/family.rs", &family::markdown());
}

#[test]
fn the_page_of_metadata_holds_the_outcomes_and_faults_of_the_code() {
    assert_generated("METADATA.md", "trace/src/outcome", &outcome::markdown());
}

/// The part of the page that is generated from `source` is `wanted`.
fn assert_generated(page: &str, source: &str, wanted: &str) {
    // The tests of this file run in parallel, and each may write the page.
    static PAGE: Mutex<()> = Mutex::new(());
    let _page = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let page = fs::read_to_string(&path).unwrap();
    let begin = format!(
        "<!-- Generated from {source}: BATON_BLESS=1 cargo test -p baton-trace --test stages_doc -->\n"
    );
    let (before, rest) = page.split_once(&begin).expect("the page's generated part begins");
    let (tables, after) = rest.split_once(END).expect("the page's generated part ends");
    let wanted = format!("\n{wanted}");
    if env::var_os("BATON_BLESS").is_some() {
        fs::write(&path, format!("{before}{begin}{wanted}{END}{after}")).unwrap();
        return;
    }
    assert!(
        tables == wanted,
        "{} differs from {source}; regenerate it with\n  \
         BATON_BLESS=1 cargo test -p baton-trace --test stages_doc\nand review the difference. It should be\n{wanted}",
        path.display()
    );
}

#[test]
fn the_page_names_every_attribute() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/STAGES.md");
    let page = fs::read_to_string(path).unwrap();
    for name in [
        attribute::STAGE,
        attribute::ATTEMPT,
        attribute::ESTIMATED,
        attribute::REMAINDER_NS,
        attribute::CLOCK_OFFSET_NS,
        attribute::CLOCK_ERROR_NS,
        attribute::FAMILY,
        attribute::FAMILY_REMAINDER_NS,
        attribute::FAMILY_CLI_READY_UNAVAILABLE,
        attribute::FAMILY_SESSION_INIT_UNAVAILABLE,
        attribute::FAMILY_FIRST_OUTPUT_UNAVAILABLE,
        attribute::META_PATCHES,
        attribute::META_ROWS,
        attribute::META_QUEUE_NS,
        attribute::META_DROPPED,
        attribute::REPORTED_BY,
        attribute::CALL_END,
        attribute::OUTCOME,
        attribute::FAULT,
        attribute::START_FAILURE,
    ] {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}
