//! The example stays small enough to be read at a glance. That it compiles, cargo sees to.

#[test]
fn a_foreign_service_is_mounted_in_under_sixty_lines() {
    let example = include_str!("../../examples/health.rs");
    assert!(example.lines().count() < 60);
}
