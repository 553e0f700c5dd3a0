//! How an exec-server creates processes: by the method of `--spawn`, and by fork where a sandbox refuses clone.

use std::process::Command;
use std::thread;

use baton_support::process::RunningProgram;
use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

use crate::support::{Finished, Home, Input, PATIENCE, Running, await_says, poll, relay, run};

const CLONE: i64 = libc::SYS_clone;
const CLONE3: i64 = libc::SYS_clone3;
const PIDFD_OPEN: i64 = libc::SYS_pidfd_open;

/// A seccomp filter: this system call fails with `errno`, if `bits` is 0 or its first argument has these bits.
fn filter(call: i64, bits: u64, errno: Errno) -> BpfProgram {
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(bits), bits);
    let rule = SeccompRule::new(vec![condition.unwrap()]).unwrap();
    let filter = SeccompFilter::new(
        [(call, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.raw_os_error().unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    filter.unwrap().try_into().unwrap()
}

/// Starts a program in a sandbox without pidfds and clone3, like gVisor. It inherits the filters of the thread that
/// starts it.
fn start_without_pidfds(command: Command) -> RunningProgram {
    let pidfd = u64::from(libc::CLONE_PIDFD.unsigned_abs());
    let filters = [
        filter(CLONE3, 0, Errno::NOSYS),
        filter(CLONE, pidfd, Errno::INVAL),
        filter(PIDFD_OPEN, 0, Errno::NOSYS),
    ];
    let start = move || {
        filters.iter().for_each(|filter| apply_filter(filter).unwrap());
        RunningProgram::start("exec-server", command).unwrap()
    };
    thread::spawn(start).join().unwrap()
}

/// A running exec-server with its home, its relay and its ticket.
struct Started {
    home: Home,
    _relay: RunningProgram,
    exec_server: RunningProgram,
    ticket: String,
}

impl Started {
    fn new(start: impl FnOnce(Command) -> RunningProgram, options: &[&str]) -> Self {
        let home = Home::new();
        home.allow("continue");
        let (relay, address) = relay(&home, "127.0.0.1:0", &[]);
        let mut command = home.baton_exec_server(&format!("http://{address}"));
        command.args(options);
        let mut exec_server = start(command);
        let ticket = exec_server.line_after("ticket: ", PATIENCE).unwrap();
        Self {
            home,
            _relay: relay,
            exec_server,
            ticket,
        }
    }

    fn exec(&self, options: &[&str], script: &str) -> Finished {
        run(self.command(options, script))
    }

    fn command(&self, options: &[&str], script: &str) -> Command {
        self.home.exec(&self.ticket, options, ["sh", "-c", script])
    }

    /// Asserts what every command gets, independent of how its process is created.
    fn serves(&self) {
        let finished = self.exec(&[], "echo out; echo error >&2; exit 3");
        assert_eq!((finished.code, finished.text()), (3, "out\n"), "{finished:?}");
        assert!(finished.stderr.contains("error\n"), "{finished:?}");
        let input = Input::Bytes(b"one two\n".to_vec());
        let counted = Running::start(self.command(&[], "wc -w"), input).finish();
        assert_eq!((counted.code, counted.text().trim()), (0, "2"), "{counted:?}");
        assert_eq!(self.exec(&[], "kill -9 $$").code, 128 + 9);
        let late = self.exec(&["--timeout", "200ms"], "sleep 1000 & wait");
        assert_eq!(late.code, 124, "{late:?}");
        let nothing = run(self.home.exec(&self.ticket, [""; 0], ["/no/such/program"]));
        assert_eq!(nothing.code, 127, "{nothing:?}");
        // Concurrent commands: each gets its own exit code.
        let commands: Vec<_> = (0..20)
            .map(|code| Running::start(self.command(&[], &format!("exit {code}")), Input::Open))
            .collect();
        for (code, running) in commands.into_iter().enumerate() {
            assert_eq!(running.finish().code, i32::try_from(code).unwrap());
        }
    }
}

const FORKS: &str = "commands are started by fork";

fn plainly(command: Command) -> RunningProgram {
    RunningProgram::start("exec-server", command).unwrap()
}

#[test]
fn in_a_sandbox_that_refuses_clone_commands_run_and_the_log_says_why_they_start_slowly() {
    let started = Started::new(start_without_pidfds, &[]);
    await_says(&started.exec_server, FORKS);
    let log = started.exec_server.stderr();
    assert!(log.contains("is refused: Invalid argument"), "{log}");
    started.serves();
}

#[test]
fn a_requested_spawn_method_is_used_silently_or_refused_with_a_reason() {
    let started = Started::new(plainly, &["--spawn", "std"]);
    started.serves();
    assert!(!started.exec_server.stderr().contains(FORKS));

    let mut command = started.home.baton_exec_server("http://127.0.0.1:1");
    command.args(["--spawn", "clone", "--state", "none"]);
    let mut refused = start_without_pidfds(command);
    assert_eq!(refused.wait(PATIENCE).unwrap().code(), Some(255));
    let log = refused.stderr();
    assert!(
        log.contains("--spawn clone does not work here") && log.contains("--spawn std"),
        "{log}"
    );
}

#[test]
fn a_forked_command_cannot_reach_the_terminal_of_its_server_either() {
    let home = Home::new();
    home.allow("continue");
    let (_relay, address) = relay(&home, "127.0.0.1:0", &[]);
    let ticket = home.file("ticket");
    let baton = home.baton().get_program().to_str().unwrap().to_owned();
    for method in ["clone", "std"] {
        // `script` runs its command in a new terminal.
        let mut script = Command::new("script");
        script
            .args([
                "-qec",
                &format!(
                    "{baton} exec-server --spawn {method} --relay http://{address} --ticket-file {}",
                    ticket.display()
                ),
                "/dev/null",
            ])
            .env("HOME", home.file(""));
        let _exec_server = RunningProgram::start("exec-server", script).unwrap();
        poll("a ticket", || ticket.exists().then_some(()));
        let mut asks = home.baton();
        asks.args(["exec", "--ticket-file"])
            .arg(&ticket)
            .args(["--", "sh", "-c"])
            .arg("(: </dev/tty) 2>/dev/null && echo reached || echo none");
        run(asks).assert_printed("none\n");
        std::fs::remove_file(&ticket).unwrap();
    }
}
