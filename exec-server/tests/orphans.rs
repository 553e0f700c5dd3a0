//! The first process of a container becomes the parent of orphans, and has to reap them.

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use baton_exec_server::{ExecService, Settings, SpawnMethod};
use baton_proto::exec::Start;
use support::{EPOCH, Host, eventually, start};

const MARK: &str = "BATON_TEST_IS_FIRST_PROCESS";

/// Ten commands each.
const ROUNDS: usize = 15;

/// Runs this test again as the first process of a PID namespace. Checks nothing where that is not allowed.
fn is_first_process(name: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        assert_eq!(std::process::id(), 1);
        return true;
    }
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        unshare
    };
    if !unshare()
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("not checked: this process may not create a PID namespace");
        return false;
    }
    let inner = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(MARK, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&inner.stdout);
    assert!(inner.status.success(), "{told}");
    false
}

/// The zombies among the children of this process.
fn zombies() -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with("Z 1 "))
        })
        .count()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn host(method: SpawnMethod, reap_orphans: bool) -> Host {
    let settings = Settings {
        spawn: method,
        reap_orphans,
        ..Settings::default()
    };
    Host::with(ExecService::with(EPOCH, &settings).unwrap()).await
}

/// Leaves an orphan that ends when nobody waits for it any more.
fn orphaning(code: u32) -> Start {
    let script = format!("(setsid sleep 0.05 >/dev/null 2>&1 &) ; exit {code}");
    start(&["sh", "-c", &script])
}

#[test]
fn orphans_are_reaped_and_no_command_loses_its_exit_status() {
    if is_first_process("orphans_are_reaped_and_no_command_loses_its_exit_status") {
        reap(SpawnMethod::Clone);
    }
}

#[test]
fn orphans_are_reaped_and_no_command_that_is_forked_loses_its_exit_status() {
    if is_first_process("orphans_are_reaped_and_no_command_that_is_forked_loses_its_exit_status") {
        reap(SpawnMethod::Std);
    }
}

fn reap(method: SpawnMethod) {
    runtime().block_on(async {
        let host = host(method, true).await;
        for round in 0..ROUNDS {
            let mut calls = Vec::new();
            for code in 0..10 {
                calls.push((code, host.run(orphaning(code)).await.unwrap()));
            }
            // A leader that is a zombie for some time, since a descendant holds a pipe.
            let held = start(&["sh", "-c", "sleep 1.2 & exit 77"]);
            let held = host.run(held).await.unwrap();
            for (code, call) in calls {
                assert_eq!(call.finish().await.code() as u32, code, "{round}");
            }
            if round == ROUNDS - 1 {
                assert_eq!(held.finish().await.code(), 77);
            }
        }
        host.idle().await;
        eventually("all orphans are reaped", || zombies() == 0).await;
    });
}

#[test]
fn without_that_setting_only_own_children_are_reaped() {
    if !is_first_process("without_that_setting_only_own_children_are_reaped") {
        return;
    }
    runtime().block_on(async {
        let host = host(SpawnMethod::Auto, false).await;
        assert_eq!(host.run(orphaning(3)).await.unwrap().finish().await.code(), 3);
        eventually("the orphan has ended", || zombies() == 1).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(zombies(), 1);
    });
}
