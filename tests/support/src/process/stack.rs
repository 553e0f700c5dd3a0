//! A relay and an exec-server that is registered with it, as processes of the real binary, and the client's key.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{BuildError, ProgramError, RunningProgram, baton};
use crate::limits::{START_PATIENCE, STOP_PATIENCE};

/// A relay and an exec-server on loopback, with new keys. Both are killed when this is dropped.
#[derive(Debug)]
pub struct Stack {
    /// The relay.
    pub relay: RunningProgram,
    /// The exec-server.
    pub exec_server: RunningProgram,
    /// Further relays, and a balancer in front of all of them.
    beside: Vec<RunningProgram>,
    ticket: String,
    url: String,
    dir: TempDir,
}

/// The relays of a stack.
#[derive(Debug)]
pub struct Relays {
    /// One of them.
    pub relay: RunningProgram,
    /// The others, and the balancers in front of all of them.
    pub beside: Vec<RunningProgram>,
    /// The URL by which exec-servers and clients reach them.
    pub url: String,
}

/// The stack did not start.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The binary could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A process failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Keys or files could not be created.
    #[error("cannot create the keys of a test: {0}")]
    Keys(#[from] io::Error),
}

impl Stack {
    /// The name of the client's key file in the directory that `prepare` receives.
    pub const CLIENT_KEY: &str = "client_key";
    /// The name of the list of allowed clients in the same directory.
    pub const ALLOW_LIST: &str = "allowed_clients";

    /// Starts both and waits until a client can dial. Both export to `collector`, if there is one. The client whose key
    /// is in [`client_key`](Self::client_key) is allowed, and its trace context trusted (`continue`).
    ///
    /// # Errors
    /// [`StackError`].
    pub fn start(collector: Option<&str>) -> Result<Self, StackError> {
        Self::start_with(collector, |_, _| {})
    }

    /// Starts both from another `baton` binary than that of this workspace, with these further arguments of the relay.
    ///
    /// # Errors
    /// [`StackError`].
    pub fn start_of(baton: &Path, relay: &[&str], collector: Option<&str>) -> Result<Self, StackError> {
        Self::start_both(baton, relay, collector, |_, _| {})
    }

    /// Starts relays by `relays`, which gets the directory of the keys, and an exec-server. Nothing is exported.
    ///
    /// # Errors
    /// [`StackError`], also of `relays`.
    pub fn start_over(relays: impl FnOnce(&Path) -> Result<Relays, StackError>) -> Result<Self, StackError> {
        Self::start_all(baton()?, None, relays, |_, _| {})
    }

    /// Starts both. `prepare` may change the exec-server's command and set its `--state`. By default the state is below
    /// the directory that `prepare` receives, which exists until this is dropped.
    ///
    /// # Errors
    /// [`StackError`].
    pub fn start_with(
        collector: Option<&str>,
        prepare: impl FnOnce(&mut Command, &Path),
    ) -> Result<Self, StackError> {
        Self::start_both(baton()?, &[], collector, prepare)
    }

    /// As [`start_with`](Self::start_with), with these further arguments of the relay. A relay that is
    /// [restarted](Self::restart_relay) does not have them.
    ///
    /// # Errors
    /// [`StackError`].
    pub fn start_with_relay(
        relay: &[&str],
        collector: Option<&str>,
        prepare: impl FnOnce(&mut Command, &Path),
    ) -> Result<Self, StackError> {
        Self::start_both(baton()?, relay, collector, prepare)
    }

    fn start_both(
        baton: &Path,
        relay: &[&str],
        collector: Option<&str>,
        prepare: impl FnOnce(&mut Command, &Path),
    ) -> Result<Self, StackError> {
        let relay = |dir: &Path| {
            let (relay, address) = start_relay(baton, "127.0.0.1:0", relay, dir, collector)?;
            Ok(Relays {
                relay,
                beside: Vec::new(),
                url: format!("http://{address}"),
            })
        };
        Self::start_all(baton, collector, relay, prepare)
    }

    fn start_all(
        baton: &Path,
        collector: Option<&str>,
        relays: impl FnOnce(&Path) -> Result<Relays, StackError>,
        prepare: impl FnOnce(&mut Command, &Path),
    ) -> Result<Self, StackError> {
        let dir = TempDir::with_prefix("baton-")?;
        let public = keygen(baton, &dir.path().join(Self::CLIENT_KEY))?;
        std::fs::write(
            dir.path().join(Self::ALLOW_LIST),
            format!("{public} test continue\n"),
        )?;

        let Relays { relay, beside, url } = relays(dir.path())?;
        let (exec_server, ticket) =
            start_exec_server(baton, &url, dir.path(), "exec_server_key", collector, prepare)?;
        Ok(Self {
            relay,
            exec_server,
            beside,
            ticket,
            url,
            dir,
        })
    }

    /// Starts a further exec-server that registers with the same relay and accepts the same client. Its key is in the
    /// file `name`. It exports nothing. Returns it and its ticket.
    ///
    /// # Errors
    /// [`StackError`].
    pub fn another_exec_server(&self, name: &str) -> Result<(RunningProgram, String), StackError> {
        start_exec_server(baton()?, &self.url, self.dir.path(), name, None, |_, _| {})
    }

    /// Kills the relay, unless it has ended, and starts another on its port, which exports nothing, when `down` has
    /// passed since this call. Returns once it listens.
    ///
    /// # Errors
    /// [`StackError`].
    pub fn restart_relay(&mut self, down: Duration) -> Result<(), StackError> {
        let began = Instant::now();
        self.relay.kill();
        sleep(down.saturating_sub(began.elapsed()));
        let address = self.url.trim_start_matches("http://");
        (self.relay, _) = start_relay(baton()?, address, &[], self.dir.path(), None)?;
        Ok(())
    }

    /// The further relays and the balancer, in the order in which they were started.
    pub fn beside(&self) -> &[RunningProgram] {
        &self.beside
    }

    /// The URL of the relay.
    pub fn relay_url(&self) -> &str {
        &self.url
    }

    /// The exec-server's ticket.
    pub fn ticket(&self) -> &str {
        &self.ticket
    }

    /// The directory of its keys and state, which exists until this is dropped. The spool of both processes is below
    /// it, so that they neither send nor add spans of the user's own commands.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The key file of the client that is allowed.
    pub fn client_key(&self) -> PathBuf {
        self.dir.path().join(Self::CLIENT_KEY)
    }

    /// Stops both with SIGTERM, the exec-server first, and waits until they have exported their spans and exited.
    /// Returns the end of the exec-server's stderr.
    ///
    /// # Errors
    /// [`StackError::Program`]; both are killed.
    pub fn stop(mut self) -> Result<String, StackError> {
        self.exec_server.terminate();
        self.exec_server.wait(STOP_PATIENCE)?;
        let stderr = self.exec_server.stderr();
        self.relay.terminate();
        self.relay.wait(STOP_PATIENCE)?;
        Ok(stderr)
    }
}

/// Writes a new key to this file and returns its public key.
fn keygen(baton: &Path, file: &Path) -> io::Result<String> {
    let output = isolated(Command::new(baton), None)
        .arg("keygen")
        .arg(file)
        .output()?;
    let line = String::from_utf8_lossy(&output.stdout);
    match line.split_whitespace().next() {
        Some(public) if output.status.success() => Ok(public.to_owned()),
        _ => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!(
                "`baton keygen` failed: {}",
                stderr.trim()
            )))
        }
    }
}

/// The variable below which a process has its spool.
const STATE_HOME: &str = "XDG_STATE_HOME";

/// Returns it and its address.
fn start_relay(
    baton: &Path,
    listen: &str,
    more: &[&str],
    dir: &Path,
    collector: Option<&str>,
) -> Result<(RunningProgram, String), StackError> {
    let mut command = isolated(Command::new(baton), collector);
    command.args(["relay", "--listen", listen]).args(more);
    command.env(STATE_HOME, dir);
    let mut relay = RunningProgram::start("relay", command)?;
    let address = relay.line_after("listening on ", START_PATIENCE)?;
    Ok((relay, address))
}

fn start_exec_server(
    baton: &Path,
    relay: &str,
    dir: &Path,
    key: &str,
    collector: Option<&str>,
    prepare: impl FnOnce(&mut Command, &Path),
) -> Result<(RunningProgram, String), StackError> {
    let mut command = isolated(Command::new(baton), collector);
    command.env(STATE_HOME, dir);
    command.args(["exec-server", "--relay", relay, "--key"]);
    command
        .arg(dir.join(key))
        .arg("--allow")
        .arg(dir.join(Stack::ALLOW_LIST));
    prepare(&mut command, dir);
    if !command.get_args().any(|argument| argument == "--state") {
        command.arg("--state").arg(dir.join(format!("{key}.state")));
    }
    let mut program = RunningProgram::start("exec-server", command)?;
    let ticket = program.line_after("ticket: ", START_PATIENCE)?;
    Ok((program, ticket))
}

/// Removes the trace context and OpenTelemetry settings of this process from the command's environment. The command
/// exports to `collector`, or nothing.
pub fn isolated(mut command: Command, collector: Option<&str>) -> Command {
    for (name, _) in std::env::vars_os() {
        let is_context = ["TRACEPARENT", "TRACESTATE", "BAGGAGE"]
            .iter()
            .any(|own| name == *own);
        if is_context || name.as_encoded_bytes().starts_with(b"OTEL_") {
            command.env_remove(name);
        }
    }
    if let Some(collector) = collector {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    }
    command
}
