//! Commands that run as a user that the exec-server's owner has set. Most of these tests need root; without it they check
//! nothing, and say so.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};

use baton_exec_server::{ExecService, Settings, SpawnMethod};
use baton_proto::exec::exec_error::Kind as ErrorKind;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Attach, PollRequest, Signal, SignalRequest, Start, Started, WindowSize};
use rustix::process::geteuid;
use support::{EPOCH, Host, Ran, kind, start, variable};
use tonic::{Code, Status};

/// Exists on every machine.
const NOBODY: &str = "nobody";

fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        println!("not checked: this test needs root");
    }
    is_root
}

/// A user other than root with this property of the entry's last two fields: the home and the shell.
fn user_with(what: &str, is_it: impl Fn(&str, &str) -> bool) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let found = users.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, _, _, home, shell] = fields[..] else {
            return None;
        };
        (uid != "0" && is_it(home, shell)).then(|| name.to_owned())
    });
    if found.is_none() {
        println!("not checked: this machine has no user with {what}");
    }
    found
}

/// What `id` says of a user.
fn id(option: &str, user: &str) -> String {
    let output = Command::new("id").args([option, user]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A host whose client's commands run as this user.
async fn host_as(user: &str) -> Host {
    let host = Host::start(SpawnMethod::Auto).await;
    host.calls_with(&format!("user=\"{user}\""));
    host
}

async fn sh(host: &Host, script: &str) -> Ran {
    // Not `sh`, whose PATH could differ.
    let start = start(&["/bin/sh", "-c", script]);
    host.run(start).await.unwrap().finish().await
}

async fn refused(host: &Host, start: Start) -> Status {
    match host.run(start).await {
        Err(status) => status,
        Ok(call) => call.failure().await,
    }
}

#[tokio::test]
async fn a_command_has_the_ids_groups_and_environment_of_its_user_and_nothing_of_the_servers() {
    if !is_root() {
        return;
    }
    let users = [
        Some(NOBODY.to_owned()),
        user_with("a shell", |_, shell| shell.ends_with("/bash")),
    ];
    for user in users.into_iter().flatten() {
        let host = host_as(&user).await;
        let ran = sh(&host, "id -u; id -g; id -G; umask").await;
        let expected: Vec<_> = ["-u", "-g", "-G"].map(|option| id(option, &user)).into();
        assert_eq!(ran.text(), format!("{}\n0022\n", expected.join("\n")), "{user}");
        let asked = Start {
            env: vec![variable("TERM", "xterm")],
            ..start(&["env"])
        };
        let ran = host.run(asked).await.unwrap().finish().await;
        let mut names: Vec<_> = ran
            .text()
            .lines()
            .map(|line| line.split('=').next().unwrap())
            .collect();
        names.retain(|name| *name != "LANG");
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "BATON_PROCESS_MARK",
                "HOME",
                "LOGNAME",
                "PATH",
                "SHELL",
                "TERM",
                "USER"
            ]
        );
        for line in [
            format!("USER={user}"),
            format!("LOGNAME={user}"),
            "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
        ] {
            assert!(
                ran.text().lines().any(|told| told == line),
                "{line} in {}",
                ran.text()
            );
        }
        let ran = host
            .run(Start {
                clear_env: true,
                ..start(&["/usr/bin/env"])
            })
            .await;
        let cleared = ran.unwrap().finish().await;
        let lines: Vec<_> = cleared.text().lines().collect();
        assert!(
            matches!(lines[..], [mark] if mark.starts_with("BATON_PROCESS_MARK=")),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn a_command_starts_in_the_home_of_its_user_or_in_the_root_directory() {
    if !is_root() {
        return;
    }
    let host = host_as(NOBODY).await;
    let home = fs::read_to_string("/etc/passwd").unwrap();
    let home = home.lines().find(|line| line.starts_with("nobody:")).unwrap();
    let home = home.split(':').nth(5).unwrap();
    if !fs::exists(home).unwrap() {
        assert_eq!(sh(&host, "pwd").await.text(), "/\n");
    }
    if let Some(user) = user_with("a home", |home, _| {
        home != "/"
            && fs::metadata(home)
                .is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o777 == 0o755)
    }) {
        host.calls_with(&format!("user=\"{user}\""));
        let ran = sh(
            &host,
            "test \"$(pwd -P)\" = \"$(cd && pwd -P)\" && cd / && test \"$(pwd)\" != \"$HOME\"",
        )
        .await;
        assert_eq!(ran.code(), 0, "{user}");
    }
    let elsewhere = Start {
        cwd: "/usr".into(),
        ..start(&["pwd"])
    };
    assert_eq!(host.run(elsewhere).await.unwrap().finish().await.text(), "/usr\n");
}

#[tokio::test]
async fn what_the_user_cannot_see_is_as_if_it_did_not_exist() {
    if !is_root() {
        return;
    }
    let host = host_as(NOBODY).await;
    let hidden = tempfile::tempdir().unwrap();
    fs::set_permissions(hidden.path(), Permissions::from_mode(0o700)).unwrap();
    let path = |name: &str| hidden.path().join(name).to_str().unwrap().to_owned();
    fs::copy("/bin/true", path("true")).unwrap();
    fs::write(path("secret"), "secret").unwrap();
    let ran = sh(&host, &format!("cat {}", path("secret"))).await;
    assert_eq!((ran.code(), ran.text()), (1, ""));
    for program in ["true", "secret", "none"] {
        let by_path = refused(&host, start(&[&path(program)])).await;
        assert_eq!(kind(&by_path), ErrorKind::CommandNotFound);
        let by_name = Start {
            env: vec![variable("PATH", hidden.path().to_str().unwrap())],
            ..start(&[program])
        };
        assert_eq!(kind(&refused(&host, by_name).await), ErrorKind::CommandNotFound);
    }
    for cwd in ["", "none"] {
        let inside = Start {
            cwd: path(cwd).into_bytes().into(),
            ..start(&["true"])
        };
        assert_eq!(kind(&refused(&host, inside).await), ErrorKind::BadCwd);
    }
    assert_eq!(
        kind(&refused(&host, start(&["/etc/passwd"])).await),
        ErrorKind::NotExecutable
    );
    assert_eq!(host.service.processes(), 0);
}

#[tokio::test]
async fn the_streams_of_a_command_belong_to_its_user() {
    if !is_root() {
        return;
    }
    let host = host_as(NOBODY).await;
    let script = "echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin";
    let ran = host
        .run(Start {
            stdin: true,
            ..start(&["/bin/sh", "-c", script])
        })
        .await
        .unwrap();
    ran.requests.stdin(0, "in\n").await;
    ran.requests.close_stdin(3).await;
    let ran = ran.finish().await;
    assert_eq!((ran.text(), &ran.stderr[..]), ("out\nin\n", &b"err\n"[..]));

    let script = "stat -c %U \"$(tty)\"; echo path >\"$(tty)\"; echo tty >/dev/tty; id -un; test -t 0 && cut -d' ' -f5,6 /proc/$$/stat; echo $$ $$";
    let in_terminal = Start {
        stdin: true,
        terminal: Some(WindowSize {
            columns: 80,
            rows: 24,
            width_pixels: 0,
            height_pixels: 0,
        }),
        ..start(&["/bin/sh", "-c", script])
    };
    let ran = host.run(in_terminal).await.unwrap().finish().await;
    let lines: Vec<_> = ran.text().lines().collect();
    assert_eq!(lines[..4], [NOBODY, "path", "tty", NOBODY]);
    // It leads a session and its process group.
    assert_eq!(lines[4], lines[5]);
}

#[tokio::test]
async fn a_login_shell_and_a_forced_command_are_run_by_the_shell_of_the_user() {
    if !is_root() {
        return;
    }
    let Some(user) = user_with("a shell", |_, shell| shell.ends_with("/bash")) else {
        return;
    };
    let host = host_as(&user).await;
    let line = |argv: &[&str]| Start {
        login_shell: true,
        ..start(argv)
    };
    let ran = host
        .run(line(&["id -un; echo $0 $BASH"]))
        .await
        .unwrap()
        .finish()
        .await;
    let shell = ran.text().split_whitespace().last().unwrap().to_owned();
    assert_eq!(ran.text(), format!("{user}\nbash {shell}\n"));
    assert!(shell.ends_with("/bash"));

    host.calls_with(&format!(
        "command=\"id -un; echo $BATON_ORIGINAL_COMMAND\",user=\"{user}\",expires=\"20991231Z\""
    ));
    let ran = host.run(start(&["id", "-u"])).await.unwrap().finish().await;
    assert_eq!(ran.text(), format!("{user}\nid -u\n"));

    // A user who may not log in has a shell that says so.
    if fs::read_to_string("/etc/passwd")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("nobody:") && line.ends_with("nologin"))
    {
        host.calls_with("user=\"nobody\"");
        let ran = host.run(line(&["echo no"])).await.unwrap().finish().await;
        assert_eq!(ran.code(), 1);
        assert!(!ran.text().contains("no\n"));
    }
}

#[tokio::test]
async fn a_start_says_which_user_it_has_and_a_client_can_insist_on_one() {
    if !is_root() {
        return;
    }
    let started = async |host: &Host| -> Result<String, Status> {
        let mut call = host.run(start(&["true"])).await?;
        match call.next().await? {
            Some(Kind::Started(Started { user, .. })) => Ok(user),
            other => panic!("{other:?}"),
        }
    };
    let settings = Settings {
        user: Some(NOBODY.to_owned()),
        ..Settings::default()
    };
    let of_server = Host::with(ExecService::with(EPOCH, &settings).unwrap()).await;
    assert_eq!(started(&of_server).await.unwrap(), NOBODY);
    let host = Host::start(SpawnMethod::Auto).await;
    for (options, asked, expected) in [
        ("", None, Ok("")),
        ("", Some("root"), Ok("")),
        ("", Some(NOBODY), Err(ErrorKind::OtherUser)),
        ("", Some("no-such-user-of-baton"), Err(ErrorKind::OtherUser)),
        ("user=\"nobody\"", None, Ok(NOBODY)),
        ("user=\"nobody\"", Some(NOBODY), Ok(NOBODY)),
        ("user=\"nobody\"", Some("root"), Err(ErrorKind::OtherUser)),
        (
            "user=\"no-such-user-of-baton\"",
            None,
            Err(ErrorKind::UnknownUser),
        ),
    ] {
        for host in [&host, &of_server] {
            if options.is_empty() && std::ptr::eq(host, &of_server) {
                continue;
            }
            host.calls_with(options);
            host.asks_for(asked);
            let told = started(host).await.map_err(|status| kind(&status));
            assert_eq!(
                told.as_deref().map_err(|kind| *kind),
                expected,
                "{options} {asked:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_owner_is_told_of_a_user_that_does_not_exist_and_a_repeated_start_still_has_its_exit() {
    if !is_root() {
        return;
    }
    let told = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&told);
    let service = ExecService::new(EPOCH).on_user_refused(Arc::new(move |refused| {
        let line = format!("{} {}: {}", refused.client, refused.user, refused.error);
        log.lock().unwrap().push(line);
    }));
    let host = Host::with(service).await;
    host.calls_with("user=\"nobody\"");
    let asked = start(&["sh", "-c", "exit 7"]);
    assert_eq!(host.run(asked.clone()).await.unwrap().finish().await.code(), 7);
    host.calls_with("user=\"no-such-user-of-baton\"");
    let again = host.run(asked).await.unwrap().events().await;
    assert!(matches!(again[0].kind, Some(Kind::Exited(_))), "{again:?}");
    assert_eq!(told.lock().unwrap().len(), 0);
    let status = refused(&host, start(&["true"])).await;
    assert_eq!(
        (status.code(), kind(&status)),
        (Code::FailedPrecondition, ErrorKind::UnknownUser)
    );
    assert!(
        status
            .message()
            .ends_with("has no such user: create it, or name another one"),
        "{status}"
    );
    let told = told.lock().unwrap();
    assert_eq!(
        told[..],
        [
            "test no-such-user-of-baton: the exec-server's machine has no such user: create it, or name another one"
        ]
    );
}

#[tokio::test]
async fn a_key_that_gains_a_user_cannot_attach_to_what_ran_before() {
    if !is_root() {
        return;
    }
    let host = Host::start(SpawnMethod::Auto).await;
    let shell = Start {
        grace_ms: 60_000,
        ..start(&["sleep", "1000"])
    };
    let mut call = host.run(shell.clone()).await.unwrap();
    call.pid().await;
    let attach = |watch| Attach {
        process_id: shell.process_id.clone(),
        watch,
        ..Attach::default()
    };
    host.calls_with("user=\"nobody\"");
    for watch in [false, true] {
        let refused = host.attach(attach(watch)).await.map(drop).unwrap_err();
        assert_eq!(kind(&refused), ErrorKind::OtherUser);
    }
    let poll = PollRequest {
        process_id: shell.process_id.clone(),
        ..PollRequest::default()
    };
    let refused = host.client.clone().poll(poll).await.unwrap_err();
    assert_eq!(kind(&refused), ErrorKind::OtherUser);
    host.calls_with("");
    let mut attached = host.attach(attach(false)).await.unwrap();
    assert!(matches!(attached.next().await, Ok(Some(Kind::Attached(_)))));
    // It can be ended in any case.
    host.calls_with("user=\"nobody\"");
    let kill = SignalRequest {
        process_id: shell.process_id.clone(),
        signal: Some(Signal {
            name: "KILL".into(),
            ends: false,
        }),
    };
    host.client.clone().signal(kill).await.unwrap();
    host.idle().await;
}

#[tokio::test]
async fn a_server_that_is_not_root_runs_commands_as_its_own_user_only() {
    if geteuid().is_root() {
        return println!("not checked: this test must not run as root");
    }
    let host = host_as("root").await;
    assert_eq!(
        kind(&refused(&host, start(&["true"])).await),
        ErrorKind::UnknownUser
    );
    let own = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    host.calls_with(&format!("user=\"{}\"", own.trim()));
    let ran = sh(&host, "id -un; echo $USER").await;
    assert_eq!(ran.text(), format!("{own}{own}"));
}
