//! A server that was itself started in a trace. This needs an environment of its own, and so a test binary with one
//! test.

mod support;

use std::process::Command;

use baton_exec_server::SpawnMethod;
use support::{Host, start};

const MARK: &str = "TEST_OF_INHERITED";

/// Runs this test again with a trace in its environment, because changing the own environment is unsafe.
#[test]
fn the_servers_own_trace_never_reaches_a_child() {
    if std::env::var_os(MARK).is_some() {
        return inside();
    }
    let inner = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_servers_own_trace_never_reaches_a_child",
            "--nocapture",
        ])
        .env(MARK, "kept")
        .envs(["TRACEPARENT", "TRACESTATE", "BAGGAGE"].map(|name| (name, "stale")))
        .output()
        .unwrap();
    assert!(
        inner.status.success(),
        "{}",
        String::from_utf8_lossy(&inner.stdout)
    );
}

#[tokio::main(flavor = "current_thread")]
async fn inside() {
    let host = Host::start(SpawnMethod::Auto).await;
    let ran = host.run(start(&["env"])).await.unwrap().finish().await;
    assert!(ran.text().contains(&format!("{MARK}=kept")));
    assert!(!ran.text().contains("stale"), "{}", ran.text());
}
