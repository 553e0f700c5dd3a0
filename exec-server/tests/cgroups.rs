//! With a cgroup for each process, a kill leaves no descendant, whatever it has done to its environment, and no cgroup
//! is left behind. Where no cgroup v2 file system can be written, nothing is checked.

#[macro_use]
mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use baton_exec_server::{CgroupError, Cgroups, ExecService, Settings, SpawnMethod};
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Signal, SignalRequest, Start, WindowSize};
use support::{Call, CgroupDirectory, EPOCH, Host, eventually, start};

with_each_spawn_method! {
    a_child_is_created_in_a_cgroup_of_its_own,
    descendants_without_mark_parent_and_group_are_killed,
}

async fn host(directory: &CgroupDirectory, method: SpawnMethod) -> Host {
    let settings = Settings {
        spawn: method,
        cgroups: Some(Cgroups::open(&directory.0, None).unwrap()),
        ..Settings::default()
    };
    Host::with(ExecService::with(EPOCH, &settings).unwrap()).await
}

fn shell(script: &str) -> Start {
    start(&["sh", "-c", script])
}

/// The cgroup that `cat /proc/self/cgroup` has printed.
fn cgroup_of(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    path.trim_end().to_owned()
}

async fn is_removed(directory: &CgroupDirectory) {
    eventually("the cgroup is removed", || directory.names().is_empty()).await;
}

async fn kill(host: &Host, start: &Start) {
    let signal = SignalRequest {
        process_id: start.process_id.clone(),
        signal: Some(Signal {
            name: "KILL".to_owned(),
            ends: false,
        }),
    };
    host.client.clone().signal(signal).await.unwrap();
}

/// Follows a call to its end. Returns the survivors.
async fn survivors(call: &mut Call) -> u32 {
    let mut survivors = None;
    while let Some(event) = call.next().await.unwrap() {
        if let Kind::Closed(closed) = event {
            survivors = Some(closed.survivors);
        }
    }
    survivors.expect("no Closed")
}

async fn a_child_is_created_in_a_cgroup_of_its_own(method: SpawnMethod) {
    let Some(directory) = CgroupDirectory::find() else {
        return;
    };
    let host = host(&directory, method).await;
    let name = directory.0.file_name().unwrap().to_str().unwrap().to_owned();
    let mut seen = Vec::new();
    // The first instruction of the program is in the cgroup already.
    for terminal in [
        None,
        Some(WindowSize {
            columns: 80,
            rows: 24,
            ..WindowSize::default()
        }),
    ] {
        let start = Start {
            stdin: terminal.is_some(),
            terminal,
            ..start(&["cat", "/proc/self/cgroup"])
        };
        let id: String = start
            .process_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let cgroup = cgroup_of(&host.run(start).await.unwrap().finish().await.stdout);
        assert!(cgroup.contains(&format!("{name}/baton-{id}-")), "{cgroup}");
        seen.push(cgroup);
    }
    assert_ne!(seen[0], seen[1]);
    is_removed(&directory).await;
}

/// As many descendants as a test waits for, which the sweep alone does not find.
const ESCAPED: usize = 3;

const ESCAPES: &str = "(setsid env -i sleep 1000 >/dev/null 2>&1 &)
    (setsid env -i sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' >/dev/null 2>&1 &)
    sleep 1000";

/// The processes in the only cgroup.
fn members(directory: &CgroupDirectory) -> Vec<u32> {
    let names = directory.names();
    let texts = names
        .iter()
        .filter_map(|name| fs::read_to_string(directory.0.join(name).join("cgroup.procs")).ok());
    texts
        .flat_map(|text| text.lines().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// All descendants have lost group, session, mark and parent.
async fn escaped(directory: &CgroupDirectory) -> Vec<u32> {
    let sleeps = || {
        let pids = members(directory).into_iter();
        pids.filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n"))
            .count()
    };
    eventually("the descendants run", || sleeps() == ESCAPED).await;
    members(directory)
}

async fn descendants_without_mark_parent_and_group_are_killed(method: SpawnMethod) {
    let Some(directory) = CgroupDirectory::find() else {
        return;
    };
    let host = host(&directory, method).await;
    for by_signal in [true, false] {
        let start = shell(ESCAPES);
        let mut call = host.run(start.clone()).await.unwrap();
        call.pid().await;
        let pids = escaped(&directory).await;
        if by_signal {
            kill(&host, &start).await;
            assert_eq!(survivors(&mut call).await, 0);
        } else {
            drop(call);
            host.idle().await;
        }
        let alive: Vec<_> = pids.iter().filter(|pid| is_alive(**pid)).collect();
        assert!(alive.is_empty(), "{alive:?}");
        is_removed(&directory).await;
    }
}

#[tokio::test]
async fn descendants_of_another_user_are_created_and_killed_in_the_cgroup() {
    if !rustix::process::geteuid().is_root() {
        return println!("not checked: this test needs root");
    }
    let Some(directory) = CgroupDirectory::find() else {
        return;
    };
    let host = host(&directory, SpawnMethod::Auto).await;
    host.calls_with("user=\"nobody\"");
    let ran = host.run(start(&["cat", "/proc/self/cgroup"])).await.unwrap();
    assert!(cgroup_of(&ran.finish().await.stdout).contains("/baton-"));
    let start = shell(ESCAPES);
    let mut call = host.run(start.clone()).await.unwrap();
    call.pid().await;
    let pids = escaped(&directory).await;
    kill(&host, &start).await;
    assert_eq!(survivors(&mut call).await, 0);
    assert!(!pids.into_iter().any(is_alive));
    is_removed(&directory).await;
    // The user cannot leave its cgroup.
    let left = host
        .sh(&format!(
            "echo $$ 2>/dev/null >{}/cgroup.procs && echo left",
            directory.0.display()
        ))
        .await;
    assert_eq!(left.stdout, b"");
}

#[tokio::test]
async fn a_daemon_stays_in_its_cgroup_which_is_removed_after_it() {
    let Some(directory) = CgroupDirectory::find() else {
        return;
    };
    let host = host(&directory, SpawnMethod::Auto).await;
    let ran = host.sh("setsid sleep 1000 >/dev/null 2>&1 & exit 3").await;
    assert_eq!(ran.code(), 3);
    host.idle().await;
    let daemon = members(&directory);
    assert_eq!(daemon.len(), 1, "{daemon:?}");
    // Another command is not affected, nor are further tries to remove the cgroup.
    assert_eq!(host.sh("exit 4").await.code(), 4);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(is_alive(daemon[0]));
    let pid = rustix::process::Pid::from_raw(daemon[0] as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    is_removed(&directory).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_start_that_fails() {
    let Some(directory) = CgroupDirectory::find() else {
        return;
    };
    let host = host(&directory, SpawnMethod::Auto).await;
    let script = tempfile::tempdir().unwrap();
    let path = script.path().join("script");
    fs::write(&path, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for program in ["/no/such/program", path.to_str().unwrap()] {
        // It is known at once, or when the child has exited.
        if let Ok(mut call) = host.run(start(&[program])).await {
            assert!(call.next().await.is_err());
        }
    }
    is_removed(&directory).await;
}

#[tokio::test]
async fn cgroups_that_a_command_has_created_below_its_own_are_killed_and_removed() {
    let Some(directory) = CgroupDirectory::find() else {
        return;
    };
    let host = host(&directory, SpawnMethod::Auto).await;
    let start = shell(&format!(
        "c={}$(sed -n 's/^0:://p' /proc/self/cgroup | sed 's/.*\\(\\/baton-\\)/\\1/')
         mkdir -p $c/a/b && (setsid sh -c \"echo \\$\\$ >$c/a/b/cgroup.procs; echo in; exec env -i sleep 1000\" &)
         sleep 1000",
        directory.0.display()
    ));
    let mut call = host.run(start.clone()).await.unwrap();
    call.pid().await;
    let Some(Kind::Output(output)) = call.next().await.unwrap() else {
        panic!()
    };
    assert_eq!(output.data, "in\n");
    kill(&host, &start).await;
    assert_eq!(survivors(&mut call).await, 0);
    is_removed(&directory).await;
}

/// Opens a directory that nobody has. A child that another test creates at this moment holds its lock until the exec.
async fn free(directory: &Path, memory_max: Option<u64>) -> Result<Cgroups, CgroupError> {
    let begun = std::time::Instant::now();
    loop {
        match Cgroups::open(directory, memory_max) {
            Err(CgroupError::Taken) if begun.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            opened => return opened,
        }
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_refused_with_the_reason() {
    let elsewhere = tempfile::tempdir().unwrap();
    let opened = Cgroups::open(elsewhere.path(), None);
    assert!(matches!(opened, Err(CgroupError::NotCgroup2)), "{opened:?}");
    let opened = Cgroups::open(&elsewhere.path().join("missing"), None);
    assert!(matches!(opened, Err(CgroupError::NotOpened(_))), "{opened:?}");
    let Some(directory) = CgroupDirectory::find() else {
        return;
    };
    let first = Cgroups::open(&directory.0, None).unwrap();
    let opened = Cgroups::open(&directory.0, None);
    assert!(matches!(opened, Err(CgroupError::Taken)), "{opened:?}");
    drop(first);
    free(&directory.0, None).await.unwrap();
    let file = directory.0.join("cgroup.procs");
    let opened = Cgroups::open(&file, None);
    assert!(matches!(opened, Err(CgroupError::NotOpened(_))), "{opened:?}");
    let controllers = fs::read_to_string(directory.0.join("cgroup.controllers")).unwrap();
    if !controllers.split_whitespace().any(|name| name == "memory") {
        let opened = free(&directory.0, Some(64 << 20)).await;
        assert!(matches!(opened, Err(CgroupError::Memory(_))), "{opened:?}");
        assert!(free(&directory.0, None).await.unwrap().without_memory().is_some());
    }
    assert!(directory.names().is_empty(), "{:?}", directory.names());
}

#[tokio::test]
async fn what_an_earlier_exec_server_has_left_is_removed_once_it_is_empty() {
    let Some(directory) = CgroupDirectory::find() else {
        return;
    };
    let [empty, used] = [1, 2].map(|number| format!("baton-{}-{number}", "0f".repeat(16)));
    let other = "baton-relay.service";
    for name in [&empty, &used, other] {
        fs::create_dir(directory.0.join(name)).unwrap();
    }
    let mut daemon = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(
        directory.0.join(&used).join("cgroup.procs"),
        daemon.id().to_string(),
    )
    .unwrap();
    let _host = host(&directory, SpawnMethod::Auto).await;
    let mut names = directory.names();
    names.sort();
    assert_eq!(names, [&used, other]);
    assert!(is_alive(daemon.id()));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    eventually("the cgroup is removed", || directory.names() == [other]).await;
}

/// The commands of a limited exec-server run out of memory, where the memory controller can be had.
#[tokio::test]
async fn a_command_that_the_kernel_kills_for_its_memory_is_told() {
    let Some(directory) = CgroupDirectory::find() else {
        return;
    };
    let cgroups = match Cgroups::open(&directory.0, Some(64 << 20)) {
        Ok(cgroups) => cgroups,
        Err(error) => return println!("not checked: {error}"),
    };
    let settings = Settings {
        cgroups: Some(cgroups),
        ..Settings::default()
    };
    let host = Host::with(ExecService::with(EPOCH, &settings).unwrap()).await;
    let ran = host
        .run(start(&["tail", "/dev/zero"]))
        .await
        .unwrap()
        .finish()
        .await;
    assert!(ran.exited.unwrap().out_of_memory);
    let ran = host.sh("kill -KILL $$").await;
    assert!(!ran.exited.unwrap().out_of_memory);
}
