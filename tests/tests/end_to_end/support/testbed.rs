//! Relay, exec-server and client as processes, with keys and an allow-list at their default paths.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use baton_core_client::{Client, PublicKey, Seed, Ticket};
use baton_support::process::{RunningProgram, baton};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, poll};

/// A home directory with a client key.
pub(crate) struct Home {
    dir: TempDir,
    public: PublicKey,
    collector: Option<String>,
}

/// A relay, a registered exec-server, and the home of a client that it allows and trusts.
pub(crate) struct Testbed {
    pub(crate) home: Home,
    pub(crate) relay: RunningProgram,
    pub(crate) relay_address: SocketAddr,
    pub(crate) exec_server: RunningProgram,
    pub(crate) ticket: Ticket,
}

impl Home {
    /// Without a collector: nothing is exported.
    pub(crate) fn new() -> Self {
        Self::with_collector(None)
    }

    /// Programs of this home export to this endpoint.
    pub(crate) fn with_collector(collector: Option<&str>) -> Self {
        let dir = TempDir::with_prefix("baton-").unwrap();
        fs::create_dir_all(dir.path().join(".config/baton")).unwrap();
        let seed = Seed::generate().unwrap();
        seed.write(&dir.path().join(".config/baton/client_key")).unwrap();
        Self {
            public: *seed.client_key().unwrap().public(),
            dir,
            collector: collector.map(str::to_owned),
        }
    }

    /// A file of this home.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file in Baton's configuration directory of this home.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.dir.path().join(".config/baton").join(name)
    }

    /// The client's public key.
    pub(crate) fn public(&self) -> PublicKey {
        self.public
    }

    /// Allows this home's client on an exec-server of this home.
    pub(crate) fn allow(&self, trust: &str) {
        let line = format!("{} tester {trust}\n", self.public);
        fs::write(self.config("allowed_clients"), line).unwrap();
    }

    /// `baton` with a minimal environment.
    pub(crate) fn baton(&self) -> Command {
        let mut command = Command::new(baton().unwrap());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("USER", "tester");
        if let Some(collector) = &self.collector {
            // With `CI` a command waits longer for the collector than the default 50 ms, which may pass on a busy
            // machine.
            command
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
                .env("CI", "true");
        }
        command
    }

    /// `baton exec TICKET OPTIONS -- COMMAND`.
    pub(crate) fn exec<O, C>(&self, ticket: &str, options: O, command: C) -> Command
    where
        O: IntoIterator<Item: AsRef<OsStr>>,
        C: IntoIterator<Item: AsRef<OsStr>>,
    {
        let mut baton = self.baton();
        baton.args(["exec", ticket]).args(options).arg("--").args(command);
        baton
    }

    /// `baton exec-server --relay RELAY_URL`.
    pub(crate) fn baton_exec_server(&self, relay_url: &str) -> Command {
        let mut baton = self.baton();
        baton.args(["exec-server", "--relay", relay_url]);
        baton
    }

    /// An exec-server of this home.
    pub(crate) fn exec_server(&self, relay_url: &str) -> RunningProgram {
        RunningProgram::start("exec-server", self.baton_exec_server(relay_url)).unwrap()
    }

    /// The client library with this home's key.
    pub(crate) fn client(&self, ticket: &Ticket) -> Client {
        Client::new(ticket.clone(), self.seed().client_key().unwrap())
    }

    /// This home's client key.
    pub(crate) fn seed(&self) -> Seed {
        Seed::read(&self.config("client_key")).unwrap()
    }
}

impl Testbed {
    /// Without a collector: nothing is exported.
    pub(crate) fn new() -> Self {
        Self::with_collector(None)
    }

    /// Every program exports to this endpoint.
    pub(crate) fn with_collector(collector: Option<&str>) -> Self {
        let home = Home::with_collector(collector);
        home.allow("continue");
        let (relay, relay_address) = relay(&home, "127.0.0.1:0", &[]);
        let mut exec_server = home.exec_server(&format!("http://{relay_address}"));
        let ticket = await_ticket(&mut exec_server);
        Self {
            home,
            relay,
            relay_address,
            exec_server,
            ticket,
        }
    }

    /// `baton exec -- COMMAND` as the allowed client.
    pub(crate) fn exec<C>(&self, command: C) -> Command
    where
        C: IntoIterator<Item: AsRef<OsStr>>,
    {
        self.exec_with(&[], command)
    }

    /// `baton exec OPTIONS -- COMMAND` as the allowed client.
    pub(crate) fn exec_with<C>(&self, options: &[&str], command: C) -> Command
    where
        C: IntoIterator<Item: AsRef<OsStr>>,
    {
        self.home.exec(&self.ticket.to_string(), options, command)
    }

    /// The client library as the allowed client.
    pub(crate) fn client(&self) -> Client {
        self.home.client(&self.ticket)
    }

    /// Shuts the exec-server down with SIGTERM, so that it exports its remaining spans.
    pub(crate) fn stop_exec_server(&mut self) {
        signal(&self.exec_server, Signal::TERM);
        assert!(self.exec_server.wait(PATIENCE).unwrap().success());
    }

    /// Waits until the exec-server has registered again.
    pub(crate) fn await_registration(&mut self) {
        await_ticket(&mut self.exec_server);
    }

    /// Waits until the exec-server's stderr contains this text.
    pub(crate) fn await_exec_server_says(&self, text: &str) {
        poll(text, || self.exec_server.stderr().contains(text).then_some(()));
    }
}

pub(super) fn await_ticket(exec_server: &mut RunningProgram) -> Ticket {
    let line = exec_server.line_after("ticket: ", PATIENCE).unwrap();
    line.parse().unwrap()
}

/// Starts a relay and returns its address.
pub(crate) fn relay(home: &Home, listen: &str, options: &[&str]) -> (RunningProgram, SocketAddr) {
    let mut command = home.baton();
    command.args(["relay", "--listen", listen]).args(options);
    let mut relay = RunningProgram::start("relay", command).unwrap();
    let address = relay.line_after("listening on ", PATIENCE).unwrap();
    (relay, address.parse().unwrap())
}

/// Wraps a command in a shell that runs `script` and then executes the command in the same process. The script may be
/// `ulimit`, `trap` or a redirection.
pub(crate) fn after(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("{script}; exec \"$0\" \"$@\""));
    shell
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    let set = command.get_envs();
    shell.envs(set.filter_map(|(name, value)| Some((name, value?))));
    shell
}

/// Sends a signal to a program that has not been reaped.
pub(crate) fn signal(program: &RunningProgram, signal: Signal) {
    let pid = Pid::from_raw(program.pid().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}
