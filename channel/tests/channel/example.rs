//! The example stays small enough to be read at a glance. That it compiles, cargo sees to.

#[test]
fn a_foreign_service_with_a_stage_of_its_own_is_mounted_in_about_a_hundred_lines() {
    let example = include_str!("../../examples/health.rs");
    assert!(example.lines().count() < 110);
}
