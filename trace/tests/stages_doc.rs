//! `docs/STAGES.md` matches the stage tables.

use std::path::Path;
use std::{env, fs};

use baton_trace::attribute;
use baton_trace::stage;

const BEGIN: &str =
    "<!-- Generated from trace/src/stage: BATON_BLESS=1 cargo test -p baton-trace --test stages_doc -->\n";
const END: &str = "\n<!-- end of the generated part -->";

#[test]
fn the_page_holds_the_tables_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/STAGES.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page's generated part begins");
    let (tables, after) = rest.split_once(END).expect("the page's generated part ends");
    let wanted = format!("\n{}", stage::markdown());
    if env::var_os("BATON_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
        return;
    }
    assert!(
        tables == wanted,
        "docs/STAGES.md differs from the stage tables; regenerate it with\n  \
         BATON_BLESS=1 cargo test -p baton-trace --test stages_doc\nand review the difference. It should be\n{wanted}"
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
        attribute::META_PATCHES,
        attribute::META_ROWS,
        attribute::META_QUEUE_NS,
        attribute::META_DROPPED,
        attribute::REPORTED_BY,
    ] {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}
