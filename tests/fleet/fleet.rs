//! Three relays behind HAProxy, and exec-servers that dial the balancer.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use baton_core_client::{ChannelConfig, Client, Seed, Ticket};
use baton_support::process::{RunningProgram, isolated};
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::balancer::{Balancer, BalancerFile};
use crate::network::{BALANCER, BALANCER_HOST, BALANCER_OF_STRANGERS, RELAYS};
use crate::{PATIENCE, Verdict};

/// How long a drained relay lets sessions finish.
pub(crate) const DRAIN: Duration = Duration::from_secs(3);

/// A fleet, and the client that all of its exec-servers allow.
pub(crate) struct Fleet {
    pub(crate) baton: PathBuf,
    pub(crate) balancer: Balancer,
    pub(crate) relays: Vec<RunningProgram>,
    pub(crate) exec_servers: Vec<ExecServer>,
    seed: Seed,
    dir: TempDir,
}

/// A registered exec-server.
pub(crate) struct ExecServer {
    pub(crate) ticket: Ticket,
    program: RunningProgram,
}

impl Fleet {
    /// Starts the relays and so many exec-servers, and waits until the balancer uses all relays and every exec-server
    /// is registered.
    pub(crate) async fn start(baton: PathBuf, balancer: Balancer, exec_servers: usize) -> Self {
        let dir = TempDir::with_prefix("baton-").expect("a directory");
        let seed = Seed::generate().expect("a key");
        let public = *seed.client_key().expect("a key").public();
        std::fs::write(
            dir.path().join("allowed_clients"),
            format!("{public} tester continue\n"),
        )
        .expect("an allow-list");
        let mut fleet = Self {
            baton,
            balancer,
            relays: Vec::new(),
            exec_servers: Vec::new(),
            seed,
            dir,
        };
        for number in 0..RELAYS.len() {
            let relay = fleet.relay(number);
            fleet.relays.push(relay);
        }
        fleet.await_relays().await;
        for number in 0..exec_servers {
            let exec_server = fleet.exec_server(number);
            fleet.exec_servers.push(exec_server);
        }
        fleet
    }

    fn command(&self) -> Command {
        let mut command = isolated(Command::new(&self.baton), None);
        command
            .env("HOME", self.dir.path())
            .env("XDG_STATE_HOME", self.dir.path());
        command
    }

    /// Adds to a failure what every program has logged last.
    pub(crate) fn explained(&self, verdict: Verdict) -> Verdict {
        verdict.map_err(|why| {
            let exec_servers = self.exec_servers.iter().map(|exec_server| &exec_server.program);
            let programs = self.relays.iter().chain(exec_servers);
            let logs = programs.map(|program| format!("\n{}:\n{}", program.name(), program.stderr()));
            format!(
                "{why}\nhaproxy:\n{}{}",
                self.balancer.stderr(),
                logs.collect::<String>()
            )
        })
    }

    /// A file of this test.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn relay(&self, number: usize) -> RunningProgram {
        let mut command = self.command();
        command.args(["relay", "--listen", RELAYS[number], "--authority", BALANCER]);
        command.args(["--authority", BALANCER_OF_STRANGERS]);
        command.args(["--proxy-protocol", BALANCER_HOST]);
        command.args(["--drain", &humantime::format_duration(DRAIN).to_string()]);
        let name = format!("relay-{}", number + 1);
        let mut relay = RunningProgram::start(&name, command).expect("a relay starts");
        block_in_place(|| relay.line_after("listening on ", PATIENCE)).expect("a relay listens");
        relay
    }

    fn exec_server(&self, number: usize) -> ExecServer {
        let mut command = self.command();
        command.args(["exec-server", "--state", "none", "--relay"]);
        command.arg(format!("http://{BALANCER}"));
        command
            .arg("--key")
            .arg(self.file(&format!("exec_server_key-{number}")));
        command.arg("--allow").arg(self.file("allowed_clients"));
        let name = format!("exec-server-{number}");
        let mut program = RunningProgram::start(&name, command).expect("an exec-server starts");
        let ticket =
            block_in_place(|| program.line_after("ticket: ", PATIENCE)).expect("an exec-server registers");
        ExecServer {
            ticket: ticket.parse().expect("a ticket"),
            program,
        }
    }

    /// Waits until the balancer uses every relay.
    pub(crate) async fn await_relays(&self) {
        for number in 0..RELAYS.len() {
            self.balancer.await_state(number, &["UP"]).await;
        }
    }

    /// Starts this relay again, which has ended, and waits until the balancer uses it.
    pub(crate) async fn return_relay(&mut self, number: usize) {
        self.relays[number] = self.relay(number);
        self.balancer.await_state(number, &["UP"]).await;
    }

    /// Starts HAProxy anew with another file. All connections are lost.
    pub(crate) async fn replace_balancer(&mut self, file: &BalancerFile) {
        self.balancer.stop();
        self.balancer = Balancer::start(file);
        self.await_relays().await;
    }

    /// A client of this exec-server, without a session.
    pub(crate) fn client(&self, exec_server: usize) -> Client {
        self.client_with(exec_server, ChannelConfig::default())
    }

    /// The same with this configuration.
    pub(crate) fn client_with(&self, exec_server: usize, config: ChannelConfig) -> Client {
        let key = self.seed.client_key().expect("a key");
        Client::with_config(self.exec_servers[exec_server].ticket.clone(), key, config)
    }

    /// `baton exec -- COMMAND` on this exec-server.
    pub(crate) fn exec(&self, exec_server: usize, words: &[&str]) -> Command {
        let key = self.file("client_key");
        if !key.exists() {
            self.seed.write(&key).expect("a key file");
        }
        let mut command = self.command();
        command.arg("exec").arg("--key").arg(key);
        command.env("BATON_TICKET", self.exec_servers[exec_server].ticket.to_string());
        command.arg("--").args(words);
        command
    }
}
