//! No event can wait for the store of records: this crate cannot even name it.

use std::process::Command;

#[test]
fn the_store_is_not_in_the_exec_servers_dependency_tree() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", "baton-exec-server"])
        .args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).expect("text");
    let crates: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    for expected in ["baton-channel", "baton-trace", "tokio"] {
        assert!(crates.contains(&expected), "the tree was read: {tree}");
    }
    for forbidden in ["baton-meta", "rusqlite", "libsqlite3-sys"] {
        assert!(
            !crates.contains(&forbidden),
            "{forbidden} is in the exec-server's dependency tree"
        );
    }
}
