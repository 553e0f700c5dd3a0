//! The lifecycle of a real process, event by event.

#[macro_use]
mod support;

use std::time::Duration;

use baton_exec_server::SpawnMethod;
use baton_exec_server::limits::LOG_BYTES;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Signaled, Start, exited};
use support::{Host, eventually, start, variable};

with_each_spawn_method! {
    echo_is_started_output_exited_closed,
    both_streams_and_the_code_arrive_apart,
    a_child_begins_with_no_signal_blocked_with_sigpipe_and_with_three_descriptors,
    death_by_signal_is_no_exit_code,
    the_child_leads_its_own_group_in_the_wanted_directory,
    argv_and_environment_arrive_byte_for_byte,
    a_descendant_that_holds_a_pipe_delays_closed_but_never_exited,
    the_leader_is_reaped_only_when_the_process_is_closed,
    a_slow_descendant_within_the_drain_limit_loses_nothing,
    a_client_that_does_not_read_stops_the_child_and_loses_nothing,
    many_echoes_lose_no_byte,
}

async fn echo_is_started_output_exited_closed(method: SpawnMethod) {
    let host = Host::start(method).await;
    let ran = host.sh("echo ok").await;
    assert_eq!(ran.text(), "ok\n");
    assert_eq!(ran.code(), 0);
    assert_eq!(ran.order.first(), Some(&"started"));
    assert_eq!(ran.order.last(), Some(&"closed"));
    assert!(!ran.closed.unwrap().truncated);
    assert!(
        ran.exited.unwrap().trace.is_none(),
        "nothing to tell without a trace"
    );
    assert_eq!(host.service.processes(), 0);
}

async fn both_streams_and_the_code_arrive_apart(method: SpawnMethod) {
    let host = Host::start(method).await;
    let ran = host.sh("printf out; printf err >&2; exit 42").await;
    assert_eq!((&ran.stdout[..], &ran.stderr[..]), (&b"out"[..], &b"err"[..]));
    assert_eq!(ran.code(), 42);
}

async fn a_child_begins_with_no_signal_blocked_with_sigpipe_and_with_three_descriptors(method: SpawnMethod) {
    let host = Host::start(method).await;
    // Rust's runtime ignores SIGPIPE in this process, and the server holds pipes of another child meanwhile.
    let _other = host.run(start(&["sleep", "60"])).await.unwrap();
    let signals = host
        .run(start(&["grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"]))
        .await
        .unwrap();
    let signals = signals.finish().await;
    let ignored = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
        // Signals 32 and 33 are glibc's own, and it ignores them in what it spawns.
        u64::from_str_radix(line.unwrap(), 16).unwrap() & 0x7fff_ffff
    };
    let ours = ignored(&std::fs::read_to_string("/proc/self/status").unwrap());
    let sigpipe = 1 << (13 - 1);
    assert_ne!(ours & sigpipe, 0);
    // `nohup` and `&` make this process ignore further signals.
    assert_eq!(ignored(signals.text()), 0);
    assert!(signals.text().starts_with("SigBlk:\t0000000000000000\n"));
    // A descriptor that every other child would inherit.
    let open = std::fs::File::open("/dev/null").unwrap();
    let _open = rustix::io::dup(&open).unwrap();
    let descriptors = host.run(start(&["ls", "/proc/self/fd"])).await.unwrap();
    // The fourth is the directory that ls reads.
    assert_eq!(descriptors.finish().await.text(), "0\n1\n2\n3\n");
}

async fn death_by_signal_is_no_exit_code(method: SpawnMethod) {
    let host = Host::start(method).await;
    let ran = host.sh("kill -9 $$").await;
    let killed = Signaled {
        signal: 9,
        core_dumped: false,
    };
    assert_eq!(ran.status(), exited::Status::Signaled(killed));
}

async fn the_child_leads_its_own_group_in_the_wanted_directory(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wanted = Start {
        cwd: "/usr".into(),
        ..start(&["sh", "-c", "pwd; echo $$; cut -d' ' -f5 /proc/$$/stat"])
    };
    let ran = host.run(wanted).await.unwrap().finish().await;
    assert_eq!(ran.text(), format!("/usr\n{pid}\n{pid}\n", pid = ran.pid));
}

async fn argv_and_environment_arrive_byte_for_byte(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wanted = Start {
        argv: vec![
            "sh".into(),
            "-c".into(),
            "printf '%s|' \"$0\" \"$1\" \"$BATON_TEST\"".into(),
            "".into(),
            b"\xff x".to_vec().into(),
        ],
        env: vec![variable("BATON_TEST", "a=b\n")],
        ..start(&[])
    };
    let ran = host.run(wanted).await.unwrap().finish().await;
    assert_eq!(ran.stdout, b"|\xff x|a=b\n|");
    let cleared = Start {
        clear_env: true,
        env: vec![variable("ONLY", "this")],
        ..start(&["/usr/bin/env"])
    };
    let ran = host.run(cleared).await.unwrap().finish().await;
    // The mark of the process, by which its descendants are found.
    let is_mark = |line: &&str| line.starts_with("BATON_PROCESS_MARK=");
    let (marks, others): (Vec<_>, Vec<_>) = ran.text().lines().partition(is_mark);
    assert_eq!((marks.len(), others), (1, vec!["ONLY=this"]));
}

async fn a_descendant_that_holds_a_pipe_delays_closed_but_never_exited(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wanted = Start {
        drain_ms: Some(1_000),
        ..start(&["sh", "-c", "sleep 1000 & echo $!"])
    };
    let ran = host.run(wanted).await.unwrap().finish().await;
    // If the exit waited for the pipe, both would arrive together.
    let between = ran.closed_at.unwrap() - ran.exited_at.unwrap();
    assert!(between > Duration::from_millis(500), "{between:?}");
    assert!(ran.closed.as_ref().unwrap().truncated);
    // A descendant of a command that exited is not killed.
    let sleeper = ran.text().trim().parse().unwrap();
    let sleeper = rustix::process::Pid::from_raw(sleeper).unwrap();
    rustix::process::kill_process(sleeper, rustix::process::Signal::KILL).unwrap();
}

/// Else the kernel could give its process id to another process, whose group a late kill would signal.
async fn the_leader_is_reaped_only_when_the_process_is_closed(method: SpawnMethod) {
    let host = Host::start(method).await;
    let script = "sleep 0.2 & exit 5";
    let mut call = host.run(start(&["sh", "-c", script])).await.unwrap();
    let pid = call.pid().await;
    let stat = format!("/proc/{pid}/stat");
    while !matches!(call.next().await.unwrap().unwrap(), Kind::Exited(_)) {}
    assert!(
        std::fs::read_to_string(&stat).unwrap().contains(") Z "),
        "not a zombie"
    );
    assert!(matches!(call.next().await.unwrap(), Some(Kind::Closed(_))));
    assert!(std::fs::read_to_string(&stat).is_err(), "still there");
}

async fn a_slow_descendant_within_the_drain_limit_loses_nothing(method: SpawnMethod) {
    let host = Host::start(method).await;
    let ran = host.sh("(sleep 0.1; echo late) & echo early").await;
    assert_eq!(ran.text(), "early\nlate\n");
    assert!(!ran.closed.unwrap().truncated);
    let exited = ran.order.iter().position(|name| *name == "exited").unwrap();
    assert_eq!(ran.order[exited + 1], "output");
}

async fn a_client_that_does_not_read_stops_the_child_and_loses_nothing(method: SpawnMethod) {
    const TOTAL: usize = 64 << 20;
    let host = Host::start(method).await;
    let script = format!("head -c {TOTAL} /dev/zero");
    let mut call = host.run(start(&["sh", "-c", &script])).await.unwrap();
    let pid = call.pid().await;
    // The child writes until the windows, the log and the pipe are full.
    let read_by_child = || {
        let tasks = std::fs::read_dir("/proc").unwrap().flatten();
        tasks
            .filter_map(|entry| {
                let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
                let group = stat.rsplit(") ").next()?.split(' ').nth(2)? == pid.to_string();
                let io = group.then(|| std::fs::read_to_string(entry.path().join("io")).ok())??;
                io.lines()
                    .find_map(|line| line.strip_prefix("wchar: ")?.parse::<usize>().ok())
            })
            .max()
            .unwrap_or(0)
    };
    let mut last = 0;
    let mut stable = 0;
    eventually("the child never stops", || {
        let now = read_by_child();
        stable = if now == last && now > 0 { stable + 1 } else { 0 };
        last = now;
        stable > 20
    })
    .await;
    // The rest of the bound is the windows of HTTP/2 and the sockets' buffers.
    assert!(
        last < LOG_BYTES + (4 << 20),
        "{last} bytes were taken from the child"
    );
    let mut bytes = 0;
    let mut exited = false;
    while let Some(kind) = call.next().await.unwrap() {
        match kind {
            Kind::Output(output) => bytes += output.data.len(),
            Kind::Exited(_) => exited = true,
            Kind::Closed(closed) => {
                assert!(exited && !closed.truncated);
                assert_eq!(closed.stdout_bytes, TOTAL as u64);
            }
            Kind::Started(_) => {}
            other => panic!("{other:?} in a call that starts a process"),
        }
    }
    assert_eq!(bytes, TOTAL);
}

/// Set `BATON_ECHOES` to run more.
async fn many_echoes_lose_no_byte(method: SpawnMethod) {
    let count: usize = std::env::var("BATON_ECHOES").map_or(1_000, |count| count.parse().unwrap());
    println!("BATON_ECHOES={count}");
    let host = std::sync::Arc::new(Host::start(method).await);
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..32 {
        let host = host.clone();
        lanes.spawn(async move {
            for _ in (lane..count).step_by(32) {
                let ran = host.run(start(&["echo", "ok"])).await.unwrap().finish().await;
                assert_eq!(ran.text(), "ok\n");
                assert_eq!(ran.code(), 0);
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap();
    }
    assert_eq!(host.service.processes(), 0);
}
