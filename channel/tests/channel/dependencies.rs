//! One cryptographic backend: what is audited is what runs.

use std::process::Command;

#[test]
fn aws_lc_is_the_only_cryptography_in_the_tree() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", "baton-channel"])
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
    for expected in ["snow", "rustls", "aws-lc-rs"] {
        assert!(crates.contains(&expected), "the tree was read: {tree}");
    }
    for forbidden in [
        "ring",
        "curve25519-dalek",
        "x25519-dalek",
        "ed25519-dalek",
        "sha1",
        "sha2",
        "blake2",
        "aes",
        "aes-gcm",
        "chacha20poly1305",
        "openssl",
        "baton-relay",
    ] {
        assert!(
            !crates.contains(&forbidden),
            "{forbidden} is in the channel's dependency tree"
        );
    }
}
