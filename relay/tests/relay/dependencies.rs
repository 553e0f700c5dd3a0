//! The relay is blind by construction: it cannot even name the code that opens a Noise message.

use std::process::Command;

#[test]
fn neither_the_channel_nor_noise_is_in_the_relays_dependency_tree() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", "baton-relay"])
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
    for expected in ["baton-proto", "rustls", "aws-lc-rs"] {
        assert!(crates.contains(&expected), "the tree was read: {tree}");
    }
    // No Noise, and for TLS the one cryptographic backend of the workspace.
    for forbidden in [
        "baton-channel",
        "snow",
        "aes-gcm",
        "x25519-dalek",
        "ring",
        "openssl",
    ] {
        assert!(
            !crates.contains(&forbidden),
            "{forbidden} is in the relay's dependency tree"
        );
    }
}
