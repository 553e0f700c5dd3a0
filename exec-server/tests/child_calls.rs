//! A start as the exec-server's own user makes no further system call, whatever an exec-server can do for other users,
//! terminals and limits.

mod support;

use std::process::Command;

use baton_exec_server::SpawnMethod;
use baton_proto::exec::Start;
use support::{Host, start};

const MARK: &str = "BATON_TEST_TRACED_BY_STRACE";

/// What a child does from its creation to its exec.
const CALLS: [&str; 10] = [
    "set_tid_address",
    "setpgid",
    // Of SIGPIPE, which every Rust program ignores.
    "rt_sigaction",
    "chdir",
    "dup3",
    "dup3",
    "dup3",
    "close_range",
    "rt_sigprocmask",
    "execve",
];

/// What a child also does where the exec-server has a terminal, where it ignores further signals, and where the time is
/// read by a system call.
const BY_MACHINE: [&str; 5] = ["openat", "ioctl", "close", "rt_sigaction", "clock_gettime"];

/// Runs this test again under strace. Checks nothing if strace is not installed.
#[test]
fn a_start_as_the_servers_own_user_makes_no_further_system_call() {
    if std::env::var_os(MARK).is_some() {
        return inside();
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("not checked: strace is not installed");
    }
    let log = std::env::temp_dir().join(format!("baton-child-strace-{}", std::process::id()));
    let inner = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_start_as_the_servers_own_user_makes_no_further_system_call",
        ])
        .env(MARK, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&inner.stdout);
    assert!(inner.status.success(), "{told}");
    let lines = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(log).unwrap();
    let of_program = lines.lines().find(|line| line.contains("execve(\"/bin/true\""));
    let child = of_program
        .and_then(|line| line.split_whitespace().next())
        .expect(&lines);
    let mut calls = Vec::new();
    for line in lines.lines() {
        let Some((_, line)) = line.split_once(' ').filter(|(pid, _)| *pid == child) else {
            continue;
        };
        // Neither the second part of an interrupted line, nor a signal.
        let name = line.trim_start().split_once('(').map_or("", |(name, _)| name);
        if !name.is_empty() && !name.contains(' ') {
            calls.push(name.to_owned());
        }
        if name == "execve" {
            break;
        }
    }
    let mut expected = CALLS.into_iter().peekable();
    for call in &calls {
        if expected.next_if(|expected| expected == call).is_none() {
            assert!(BY_MACHINE.contains(&&**call), "{call} of {calls:?}");
        }
    }
    assert_eq!(expected.next(), None, "{calls:?}");
}

#[tokio::main(flavor = "current_thread")]
async fn inside() {
    let host = Host::start(SpawnMethod::Clone).await;
    let start = Start {
        cwd: "/".into(),
        ..start(&["/bin/true"])
    };
    assert_eq!(host.run(start).await.unwrap().finish().await.code(), 0);
}
