//! Every start is a clone that shares memory and does not suspend the server, whatever it changes for the child. The
//! fork path costs milliseconds once the server is large.

mod support;

use std::process::Command;

use baton_exec_server::SpawnMethod;
use baton_proto::exec::Start;
use support::{Host, start, variable};

const MARK: &str = "BATON_TEST_TRACED_BY_STRACE";

/// Runs this test again under strace. Checks nothing if strace is not installed.
#[test]
fn no_start_copies_the_servers_memory() {
    if std::env::var_os(MARK).is_some() {
        return inside();
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("not checked: strace is not installed");
    }
    let log = std::env::temp_dir().join(format!("baton-exec-strace-{}", std::process::id()));
    let inner = Command::new("strace")
        .args(["-f", "-e", "trace=clone,clone3,fork,vfork", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "no_start_copies_the_servers_memory", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    assert!(
        inner.status.success(),
        "{}",
        String::from_utf8_lossy(&inner.stdout)
    );
    let calls = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(log).unwrap();
    let children: Vec<_> = calls
        .lines()
        .filter(|line| line.contains("fork(") || line.contains("clone"))
        .filter(|line| !line.contains("CLONE_THREAD") && !line.contains("resumed>"))
        .collect();
    // One more: the probe.
    assert_eq!(children.len(), 1 + starts().len(), "{calls}");
    for call in children {
        assert!(
            call.contains("CLONE_VM") && !call.contains("CLONE_VFORK"),
            "{call}"
        );
    }
}

#[tokio::main(flavor = "current_thread")]
async fn inside() {
    let host = Host::start(SpawnMethod::Clone).await;
    for start in starts() {
        assert_eq!(host.run(start).await.unwrap().finish().await.code(), 0);
    }
}

fn starts() -> Vec<Start> {
    let path = || vec![variable("PATH", "/usr/bin:/bin"), variable("A", "b")];
    vec![
        start(&["true"]),
        start(&["/bin/true"]),
        Start {
            stdin: false,
            env: path(),
            ..start(&["true"])
        },
        Start {
            clear_env: true,
            ..start(&["true"])
        },
        Start {
            clear_env: true,
            env: path(),
            ..start(&["true"])
        },
        Start {
            cwd: "/".into(),
            ..start(&["true"])
        },
        Start {
            cwd: "/".into(),
            env: path(),
            ..start(&["bin/true"])
        },
    ]
}
