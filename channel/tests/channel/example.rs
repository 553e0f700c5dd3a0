//! The example stays short. Cargo checks that it compiles.

#[test]
fn a_foreign_service_with_a_stage_of_its_own_is_mounted_in_about_a_hundred_lines() {
    let example = include_str!("../../examples/health.rs");
    assert!(example.lines().count() < 110);
}
