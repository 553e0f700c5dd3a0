//! What a command inherits from the exec-server that runs it, and what it does not.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use baton_support::process::{RunningProgram, baton};
use rustix::process::getuid;

use crate::support::{Finished, Home, PATIENCE, after, relay, run};

/// The id of the unprivileged user `nobody`.
const NOBODY: u32 = 65534;

/// Starts a relay and the exec-server of `started`, and runs a command of `client` there.
fn exec_of(started: impl FnOnce(&str) -> Command, client: &Home, script: &str) -> Finished {
    let (_relay, address) = relay(client, "127.0.0.1:0", &[]);
    let mut exec_server =
        RunningProgram::start("exec-server", started(&format!("http://{address}"))).unwrap();
    let ticket = exec_server.line_after("ticket: ", PATIENCE).unwrap();
    run(client.exec(&ticket, [""; 0], ["sh", "-c", script]))
}

fn own(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        fs::read_dir(path)
            .unwrap()
            .for_each(|entry| own(&entry.unwrap().path()));
    }
}

#[test]
fn a_command_starts_as_one_that_was_started_by_hand() {
    for method in ["clone", "std"] {
        starts_as_by_hand(method);
    }
}

fn starts_as_by_hand(method: &str) {
    let home = Home::new();
    home.allow("continue");
    let background = |url: &str| {
        let mut command = home.baton_exec_server(url);
        command.args(["--spawn", method]);
        command.env("BATON_SECRET", "x").env("OTHER", "y");
        // `nohup` and `&` ignore the first three; SIGUSR1 stands for any other signal.
        after("trap '' HUP INT QUIT USR1; ulimit -Sn 200; cd /usr", &command)
    };
    let script = "grep -E '^Sig(Ign|Blk)' /proc/self/status; ulimit -Sn; \
                  env | grep -E '^(BATON_|OTHER)' | grep -v ^BATON_PROCESS_MARK=; pwd";
    let finished = exec_of(background, &home, script);
    let home_directory = fs::canonicalize(home.file("")).unwrap();
    finished.assert_printed(&format!(
        "SigBlk:\t{zero}\nSigIgn:\t{zero}\n200\nOTHER=y\n{home}\n",
        zero = "0".repeat(16),
        home = home_directory.display(),
    ));
}

#[test]
fn baton_run_keeps_its_callers_directory() {
    let mut command = Home::new().baton();
    command.args(["run", "-q", "--", "pwd"]).current_dir("/usr");
    run(command).assert_printed("/usr\n");
}

#[test]
fn a_command_runs_where_the_exec_server_does_if_its_user_has_no_home() {
    let home = Home::new();
    home.allow("continue");
    let homeless = |url: &str| {
        let mut command = home.baton_exec_server(url);
        let config = |name: &str| home.config(name);
        command
            .args(["--state", "none", "--key"])
            .arg(config("exec_server_key"))
            .arg("--allow")
            .arg(config("allowed_clients"))
            .env("HOME", "/no/such/home");
        after("cd /usr", &command)
    };
    exec_of(homeless, &home, "pwd").assert_printed("/usr\n");
}

#[test]
fn other_processes_of_its_user_cannot_read_an_exec_server() {
    let (server, client) = (Home::new(), Home::new());
    fs::write(
        server.config("allowed_clients"),
        format!("{} tester\n", client.public()),
    )
    .unwrap();
    // A copy that the unprivileged user may execute.
    let program = server.file("baton");
    fs::copy(baton().unwrap(), &program).unwrap();
    let unprivileged = |url: &str| {
        let plain = server.baton_exec_server(url);
        let mut command = Command::new(&program);
        command.args(plain.get_args()).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if getuid().is_root() {
            own(&server.file(""));
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    let script = "cat /proc/$PPID/environ >/dev/null; echo $?; cat /proc/self/environ >/dev/null; echo $?";
    let finished = exec_of(unprivileged, &client, script);
    assert_eq!((finished.code, finished.text()), (0, "1\n0\n"), "{finished:?}");
    assert!(finished.stderr.contains("Permission denied"), "{finished:?}");
}
