//! HAProxy with `deploy/haproxy.cfg`, and what its metrics say of the relays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use baton_support::process::RunningProgram;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::{PATIENCE, Verdict, within};

/// Where the file has its metrics.
const METRICS: &str = "127.0.0.1:8405";

/// The pause between two looks at the metrics.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A file for HAProxy.
pub(crate) struct BalancerFile {
    path: PathBuf,
    _dir: Option<TempDir>,
}

/// A running HAProxy.
pub(crate) struct Balancer {
    program: RunningProgram,
}

impl BalancerFile {
    /// The file that users get, unchanged.
    pub(crate) fn of_users() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/haproxy.cfg");
        Self { path, _dir: None }
    }

    /// The same without the stick table.
    pub(crate) fn without_stick_table(&self) -> Self {
        let text = std::fs::read_to_string(&self.path).expect("the file is there");
        let (table, rest): (Vec<_>, Vec<_>) = text
            .lines()
            .partition(|line| line.trim_start().starts_with("stick"));
        assert_eq!(table.len(), 3, "a table and two rules: {table:?}");
        let dir = TempDir::with_prefix("baton-").expect("a directory");
        let path = dir.path().join("haproxy.cfg");
        std::fs::write(&path, rest.join("\n") + "\n").expect("a file");
        Self {
            path,
            _dir: Some(dir),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("haproxy");
        command.arg("-f").arg(&self.path);
        command
    }

    /// Lets HAProxy check it. A warning fails too.
    pub(crate) fn check(&self) -> Verdict {
        let output = self.command().arg("-c").output().expect("haproxy starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        match output.status.success() && !said.contains("WARNING") {
            true => Ok(said.trim().to_owned()),
            false => Err(said),
        }
    }
}

impl Balancer {
    /// Starts HAProxy in the foreground.
    pub(crate) fn start(file: &BalancerFile) -> Self {
        let mut command = file.command();
        // `-n` lowers `maxconn`: the file's takes 40,025 file descriptors, more than some machines allow.
        command.args(["-db", "-n", "4000"]);
        let program = RunningProgram::start("haproxy", command).expect("haproxy starts");
        Self { program }
    }

    /// Ends it at once.
    pub(crate) fn stop(&mut self) {
        self.program.kill();
    }

    /// The end of what it has logged on standard error.
    pub(crate) fn stderr(&self) -> String {
        self.program.stderr()
    }

    /// The state of each relay (`UP`, `NOLB`, `DOWN`), in the order of the file.
    pub(crate) async fn states(&self) -> Vec<String> {
        let metrics = metrics().await;
        let mut states = BTreeMap::new();
        for (name, labels, value) in samples(&metrics) {
            if name == "haproxy_server_status" && value == 1.0 {
                let state = label(labels, "state").unwrap_or_default().to_owned();
                states.insert(label(labels, "server").unwrap_or_default().to_owned(), state);
            }
        }
        states.into_values().collect()
    }

    /// The number of open streams of each relay, in the order of the file.
    pub(crate) async fn streams(&self) -> Vec<u64> {
        let metrics = metrics().await;
        let mut streams = BTreeMap::new();
        for (name, labels, value) in samples(&metrics) {
            if name == "haproxy_server_current_sessions" {
                streams.insert(
                    label(labels, "server").unwrap_or_default().to_owned(),
                    value as u64,
                );
            }
        }
        streams.into_values().collect()
    }

    /// Waits until this relay has one of these states.
    pub(crate) async fn await_state(&self, relay: usize, awaited: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let states = self.states().await;
            if states.get(relay).is_some_and(|now| awaited.contains(&&now[..])) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "relay {relay} is not {awaited:?}: {states:?}; haproxy says: {}",
                self.stderr()
            );
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// The metrics page; empty while HAProxy does not listen yet.
async fn metrics() -> String {
    let read = async {
        let mut stream = TcpStream::connect(METRICS).await?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n")
            .await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        std::io::Result::Ok(page)
    };
    within(read).await.unwrap_or_default()
}

/// The samples of relays on the page: name, labels, value.
fn samples(page: &str) -> impl Iterator<Item = (&str, &str, f64)> {
    page.lines().filter_map(|line| {
        let (name, rest) = line.split_once('{')?;
        let (labels, value) = rest.split_once("} ")?;
        let is_of_relays = label(labels, "proxy") == Some("relays");
        is_of_relays.then_some((name, labels, value.trim().parse().ok()?))
    })
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|label| {
        let (key, value) = label.split_once('=')?;
        (key == name).then(|| value.trim_matches('"'))
    })
}
