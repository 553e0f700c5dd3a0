//! Crates that must not be in the dependency tree of another crate.

use std::process::Command;

/// The names of the crates in the dependency tree of a package.
fn tree(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", package])
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
    tree.lines()
        .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
        .collect()
}

/// Asserts that no forbidden crate is in the tree. The expected crates prove that the tree was read.
#[track_caller]
fn assert_tree(package: &str, expected: &[&str], forbidden: &[&str]) {
    let tree = tree(package);
    let has = |name: &str| tree.iter().any(|one| one == name);
    for name in expected {
        assert!(has(name), "{name} is not in the tree of {package}: {tree:?}");
    }
    for name in forbidden {
        assert!(!has(name), "{name} is in the dependency tree of {package}");
    }
}

/// The relay cannot decrypt: it does not link the code that opens a Noise message. For TLS it uses the one
/// cryptographic backend of the workspace.
#[test]
fn neither_the_channel_nor_noise_is_in_the_relays_dependency_tree() {
    assert_tree(
        "baton-relay",
        &["baton-proto", "baton-tls", "rustls", "aws-lc-rs"],
        &[
            "baton-channel",
            "baton-noise",
            "baton-mux",
            "snow",
            "aes-gcm",
            "x25519-dalek",
            "ring",
            "openssl",
        ],
    );
}

/// Runtimes, and crates that depend on one.
const RUNTIMES: &[&str] = &["tokio", "tonic", "hyper"];

/// A program that records traces may use any runtime.
#[test]
fn there_is_no_runtime_in_the_tree_of_the_trace() {
    assert_tree("baton-trace", &["opentelemetry"], RUNTIMES);
}

/// The protocol crates are sans-IO state machines.
#[test]
fn there_is_no_runtime_in_the_trees_of_noise_and_the_multiplexer() {
    assert_tree(
        "baton-noise",
        &["baton-proto", "baton-kem", "snow", "aws-lc-rs"],
        RUNTIMES,
    );
    assert_tree("baton-mux", &["baton-proto", "baton-trace"], RUNTIMES);
}

/// Random keys come from the operating system: no generator of this process, which a fork would copy, is linked.
#[test]
fn no_generator_and_no_runtime_is_in_the_tree_of_the_kem() {
    assert_tree("baton-kem", &["ml-kem"], RUNTIMES);
    assert_tree(
        "baton-kem",
        &["zeroize"],
        &["rand", "rand_chacha", "aws-lc-rs", "pqcrypto-kyber", "snow"],
    );
}

/// Crates without a runtime use these messages.
#[test]
fn no_grpc_library_is_in_the_tree_of_the_messages() {
    assert_tree("baton-proto", &["prost"], RUNTIMES);
}

/// A second implementation would escape an audit of the first. ML-KEM is in the tree once, and its hash with it.
#[test]
fn aws_lc_is_the_only_cryptography_beside_ml_kem_in_the_tree() {
    assert_tree(
        "baton-channel",
        &["snow", "rustls", "aws-lc-rs"],
        &[
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
        ],
    );
}

/// The crate with the shipped `unsafe` code stays small enough for review, and programs with another runtime can use
/// it.
#[test]
fn no_runtime_and_no_other_crate_is_in_the_tree_of_spawn() {
    assert_tree("baton-spawn", &["rustix", "syscalls"], RUNTIMES);
    assert_tree(
        "baton-spawn",
        &["libc"],
        &["baton-proto", "baton-trace", "baton-rpc"],
    );
}

/// A caller's loop is recorded without remote execution: no channel, no gRPC.
#[test]
fn no_grpc_and_no_channel_is_in_the_tree_of_turns() {
    assert_tree(
        "baton-turn",
        &["opentelemetry", "tokio"],
        &["tonic", "hyper", "h2"],
    );
    let mut tree = tree("baton-turn");
    tree.retain(|name| name.starts_with("baton"));
    tree.sort();
    tree.dedup();
    assert_eq!(tree, ["baton-proto", "baton-trace", "baton-turn"]);
}

/// Readers of a corpus need neither the exporter nor a runtime.
#[test]
fn no_runtime_and_no_exporter_is_in_the_tree_of_the_corpus() {
    assert_tree("baton-corpus", &["baton-trace", "zstd"], RUNTIMES);
    assert_tree("baton-corpus", &["zstd-sys"], &["baton-export", "baton-fuzz"]);
}

/// No event can wait for the metadata store, because the exec-server does not link it.
#[test]
fn the_store_is_not_in_the_exec_servers_dependency_tree() {
    assert_tree(
        "baton-exec-server",
        &["baton-channel", "baton-trace", "tokio"],
        &["baton-metadata", "rusqlite", "libsqlite3-sys"],
    );
}
