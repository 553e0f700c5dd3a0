//! One side of the comparison: the executables of one commit, and process sets started from them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use baton_bench::floor::PROGRAM;
use baton_bench::{Failure, Worker, machine};
use baton_support::process::{Stack, baton, isolated, usage};
use tempfile::TempDir;

/// The executables of one commit.
pub(crate) struct Side {
    commit: String,
    baton: PathBuf,
    clients: [PathBuf; 2],
    /// The arguments of its relay.
    relay: &'static [&'static str],
    /// Where the executables of this checkout were copied to.
    copies: Option<TempDir>,
}

/// The benchmark whose executable is the client of a process set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientOf {
    /// Executes `/bin/true`, and exports if there is a collector.
    Exec,
    /// Also downloads and uploads; never exports.
    Data,
}

impl ClientOf {
    /// Names of the executables, in the order of the variants.
    const NAMES: [&str; 2] = ["exec", "data"];
}

impl Side {
    /// The executables that `save` copied to `dir`.
    pub(crate) fn at(dir: &Path) -> Result<Self, Failure> {
        let baton = dir.join("baton");
        let clients = ClientOf::NAMES.map(|name| dir.join(name));
        for file in [&baton].into_iter().chain(&clients) {
            if !file.is_file() {
                return Err(format!(
                    "{} is missing; run: bench/benches/before/save {} CHECKOUT",
                    file.display(),
                    dir.display()
                )
                .into());
            }
        }
        let commit = std::fs::read_to_string(dir.join("commit"));
        Ok(Self {
            commit: commit.map_or_else(|_| "unknown".to_owned(), |commit| commit.trim().to_owned()),
            baton,
            clients,
            relay: one_thread(&dir.join("baton"))?,
            copies: None,
        })
    }

    /// The executables of this checkout, copied as the others are: the page cache holds a file that the linker has
    /// written in smaller pieces than a copy, and each start of a process then has more page faults.
    pub(crate) fn this() -> Result<Self, Failure> {
        let deps = std::env::current_exe()?;
        let deps = deps.parent().ok_or("this executable is in no directory")?;
        let [exec, data] = ClientOf::NAMES.map(|name| newest(deps, name));
        let copies = TempDir::with_prefix_in("before-", deps)?;
        for (name, file) in [("baton", baton()?), ("exec", &exec?), ("data", &data?)] {
            std::fs::copy(file, copies.path().join(name))?;
        }
        let mut side = Self::at(copies.path())?;
        side.commit = machine::commit();
        side.copies = Some(copies);
        Ok(side)
    }

    /// The commit that they were built from.
    pub(crate) fn commit(&self) -> &str {
        &self.commit
    }

    /// Starts a process set and connects its client. With a collector, every execution is recorded and exported to it.
    pub(crate) fn start(&self, client_of: ClientOf, collector: Option<&str>) -> Result<ProcessSet, Failure> {
        let stack = Stack::start_of(&self.baton, self.relay, collector)?;
        let (ticket, key) = (stack.ticket(), stack.client_key());
        let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
        let executable = &self.clients[client_of as usize];
        let client = Worker::start_of(executable, &["client", ticket, key], collector)?;
        Ok(ProcessSet {
            baton: self.baton.clone(),
            stack,
            client_of,
            client,
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, {} and {}",
            self.commit,
            self.baton.display(),
            self.clients[0].display(),
            self.clients[1].display()
        )
    }
}

/// The executable of the benchmark `name` in `dir` that was built last.
fn newest(dir: &Path, name: &str) -> Result<PathBuf, Failure> {
    let mut found = Vec::new();
    for entry in dir.read_dir()? {
        let entry = entry?;
        let path = entry.path();
        let is_named = entry
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{name}-"));
        if is_named && path.extension().is_none() {
            found.push((entry.metadata()?.modified()?, path));
        }
    }
    let newest = found.into_iter().max().map(|(_, path)| path);
    newest.ok_or_else(|| {
        format!("the benchmark `{name}` is not built; run: cargo bench -p baton-bench --no-run").into()
    })
}

/// A relay, an exec-server and a client.
pub(crate) struct ProcessSet {
    baton: PathBuf,
    stack: Stack,
    client_of: ClientOf,
    client: Worker,
}

impl ProcessSet {
    /// Sends a request to the client. The benchmark that the client is from defines the requests. Both have
    /// `sequential WARM-UP EXECUTIONS`.
    pub(crate) fn ask(&self, request: &str) -> Result<Vec<f64>, Failure> {
        self.client.ask(request)
    }

    /// CPU time so far of the three processes, without their children.
    pub(crate) fn cpu_time(&self) -> Result<Duration, Failure> {
        let pids = [
            self.stack.relay.pid(),
            self.stack.exec_server.pid(),
            self.client.pid(),
        ];
        Ok(pids
            .into_iter()
            .map(usage::cpu_time)
            .sum::<std::io::Result<_>>()?)
    }

    /// Seconds from the start of a new `baton exec` to its exit.
    pub(crate) fn cold(&self, collector: Option<&str>) -> Result<f64, Failure> {
        let mut command = isolated(Command::new(&self.baton), collector);
        command.args(["exec", self.stack.ticket(), "--key"]);
        // A spool of its own: not the user's, whose files it would send.
        command.env("XDG_STATE_HOME", self.stack.directory());
        command.arg(self.stack.client_key()).args(["--", PROGRAM]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let status = command.status()?;
        let took = started.elapsed().as_secs_f64();
        match status.success() {
            true => Ok(took),
            false => Err(format!("{command:?} ended with {status}").into()),
        }
    }

    /// Stops the client first, then the exec-server, then the relay, so that all spans are exported.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        if self.client_of == ClientOf::Exec {
            self.client.ask("finish 0 0")?;
        }
        drop(self.client);
        self.stack.stop()?;
        Ok(())
    }
}

/// Earlier relays have one thread and no option for it.
fn one_thread(baton: &Path) -> Result<&'static [&'static str], Failure> {
    let help = isolated(Command::new(baton), None)
        .args(["relay", "--help"])
        .output()?;
    let has_threads = String::from_utf8_lossy(&help.stdout).contains("--threads");
    Ok(if has_threads { &["--threads", "1"] } else { &[] })
}
