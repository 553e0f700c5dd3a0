//! The description of a command to run.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use baton_channel::RecordTo;
use baton_proto::ProcessId;
use baton_proto::exec::{EnvironmentVariable, Start, ThreadMetadata};
use baton_trace::family::Family;
use baton_trace::record::unix_now_ns;
use baton_trace::text::printable;
use baton_trace::w3c::{ExtractedContext, random_bits};
use bytes::Bytes;

use crate::error::DisplayNames;
use crate::limits;
use crate::recovery::OnRecovery;
use crate::terminal::WindowSize;

/// What happens to a command's output that nobody reads, when the exec-server has no more room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// The command blocks when it writes, until its output is read.
    #[default]
    Block,
    /// The oldest output is dropped. Its reader gets [`Event::Gap`](crate::Event::Gap).
    Drop,
}

/// A command for a remote machine. No shell is involved: the program is looked up in the remote `PATH`.
#[derive(Clone)]
pub struct Command {
    argv: Vec<OsString>,
    cwd: Option<OsString>,
    env: Vec<(OsString, OsString)>,
    clear_env: bool,
    drain: Option<Duration>,
    terminal: Option<WindowSize>,
    login_shell: bool,
    pub(crate) user: Option<String>,
    id: Option<ProcessId>,
    on_full: OnFull,
    is_detached: bool,
    pub(crate) grace: Duration,
    kill_grace: Option<Duration>,
    pub(crate) on_recovery: Option<OnRecovery>,
    pub(crate) timeout: Option<Duration>,
    thread: String,
    title: String,
    turn: u64,
    step: String,
    pub(crate) family: Option<Family>,
    pub(crate) label: Option<String>,
    metadata: Vec<ThreadMetadata>,
    pub(crate) max_output: usize,
    pub(crate) trace: bool,
    pub(crate) record_to: Option<RecordTo>,
    pub(crate) parent: Option<ExtractedContext>,
}

impl fmt::Debug for Command {
    /// Without arguments and variables, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names();
        f.debug_struct("Command")
            .field("program", &names.program)
            .field("cwd", &names.cwd)
            .finish_non_exhaustive()
    }
}

impl Command {
    /// Runs `program`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            argv: vec![program.as_ref().to_owned()],
            cwd: None,
            env: Vec::new(),
            clear_env: false,
            drain: None,
            terminal: None,
            login_shell: false,
            user: None,
            id: None,
            on_full: OnFull::Block,
            is_detached: false,
            grace: limits::GRACE_DEFAULT,
            kill_grace: None,
            on_recovery: None,
            timeout: None,
            thread: String::new(),
            title: String::new(),
            turn: 0,
            step: String::new(),
            family: None,
            label: None,
            metadata: Vec::new(),
            max_output: limits::MAX_OUTPUT,
            trace: false,
            record_to: None,
            parent: None,
        }
    }

    /// Runs a line in the login shell of the exec-server's user, or of the user that its owner has set for this client,
    /// or that shell interactively, without a line. Nothing is
    /// quoted: the shell interprets the line. Do not add arguments. An exec-server that does not know terminals refuses
    /// it.
    pub fn login_shell(line: Option<impl AsRef<OsStr>>) -> Self {
        Self {
            argv: line.map(|line| line.as_ref().to_owned()).into_iter().collect(),
            login_shell: true,
            ..Self::new("")
        }
    }

    /// Gives the command a terminal of this size, as its standard streams and its controlling terminal: use
    /// [`Client::start`](crate::Client::start). All its output is [`Event::Stdout`](crate::Event::Stdout). What is
    /// written to its [`Stdin`](crate::Stdin) is what a person would type, and the end of it is typed too, which a
    /// program that reads single keys does not take for an end. Set `TERM` by [`env`](Self::env). If the session of a
    /// command with a [`grace`](Self::grace) is lost, it keeps its terminal.
    pub fn terminal(mut self, size: WindowSize) -> Self {
        self.terminal = Some(size);
        self
    }

    /// Runs the command only if it runs as the user with this name: the one that the exec-server's owner has set for this
    /// client, else the exec-server's own. It selects no user. The command is refused if it would run as another one, or
    /// if the exec-server's version is too old to tell.
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// Whether an exec-server that does not know terminals would run something else.
    pub(crate) fn needs_terminals(&self) -> bool {
        self.terminal.is_some() || self.login_shell
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Sets the id of the command's process, in place of a new one. Of several starts with the same id and the same
    /// command, by any clients of one key, one runs: the others get [`Event::Repeated`](crate::Event::Repeated), and one of
    /// another command gets [`StartFailure::Conflict`](crate::StartFailure::Conflict). The exec-server remembers an id
    /// while the process runs and for some minutes after it; one that writes records before starts
    /// (`--durability start`) knows for as long as it keeps them that the id has run, and answers
    /// [`StartFailure::Lost`](crate::StartFailure::Lost).
    pub fn id(mut self, id: ProcessId) -> Self {
        self.id = Some(id);
        self
    }

    /// Whether the caller has set the id.
    pub fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// What happens when nobody reads the command's output: [`OnFull::Block`] if not set. An exec-server that does not
    /// know this refuses [`OnFull::Drop`].
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }

    pub(crate) fn detached(mut self) -> Self {
        self.is_detached = true;
        self
    }

    /// Whether an exec-server that does not know detached processes would run something else.
    pub(crate) fn needs_detached(&self) -> bool {
        self.is_detached || self.on_full == OnFull::Drop
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable on top of the server's environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts from an empty environment instead of the server's.
    pub fn env_clear(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// Runs in this directory of the remote machine.
    pub fn current_dir(mut self, dir: impl AsRef<OsStr>) -> Self {
        self.cwd = Some(dir.as_ref().to_owned());
        self
    }

    /// How long after the exit to wait for pipes that a descendant still holds. Rounded down to milliseconds.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = Some(limit);
        self
    }

    /// How long the command runs on after its session is lost, because the client's machine or the network failed; the
    /// exec-server may grant less ([`Run::grace`](crate::Run::grace)). A minute if not set; zero kills it at once. A
    /// dropped [`Run`](crate::Run), a [`timeout`](Self::timeout) and a closed client kill it at once, unless the session
    /// is lost at that time: then nothing tells the exec-server but the timeout. An exec-server without graces ignores
    /// this. Rounded down to milliseconds.
    ///
    /// For most of this time the client tries to attach to the command again. If it can, no event is lost and none
    /// comes twice, and the standard input goes on.
    pub fn grace(mut self, limit: Duration) -> Self {
        self.grace = limit;
        self
    }

    /// How long the command has to end by itself when the caller ends it, by [`Run::terminate`](crate::Run::terminate)
    /// or a [`timeout`](Self::timeout): the time between the signal and SIGKILL, which its whole process group then
    /// gets. 200 ms if not set, zero for SIGKILL at once, at most ten minutes. It is not the time that a dropped
    /// [`Run`](crate::Run) leaves the command, which is always 200 ms. An exec-server without signals ignores this.
    /// Rounded down to milliseconds.
    pub fn kill_grace(mut self, limit: Duration) -> Self {
        self.kill_grace = Some(limit);
        self
    }

    /// Called when the session of a command with a [`grace`](Self::grace) is lost, and when the client is attached to it
    /// again.
    pub fn on_recovery(mut self, notify: OnRecovery) -> Self {
        self.on_recovery = Some(notify);
        self
    }

    /// Limits the time from the call to the end of the output, connecting included. After it, the command is killed,
    /// the call fails with [`RunError::TimedOut`](crate::RunError::TimedOut), and the record has the outcome
    /// `timed_out`. Both peers enforce it, so it also holds after a loss of the connection. Its precision is that of
    /// `grpc-timeout` (eight digits).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets the caller's thread (conversation, job) that this command belongs to, and under which the exec-server
    /// stores its record; at most [`THREAD_ID_MAX`](baton_proto::limits::THREAD_ID_MAX) bytes.
    pub fn thread(mut self, id: impl Into<String>) -> Self {
        self.thread = id.into();
        self
    }

    /// Sets the thread's title, at most [`THREAD_TITLE_MAX`](baton_proto::limits::THREAD_TITLE_MAX) bytes. Requires
    /// [`thread`](Self::thread).
    pub fn thread_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets a key of the thread's metadata; the last value of a key counts. Requires [`thread`](Self::thread).
    pub fn thread_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.metadata.retain(|entry| entry.key != key);
        self.metadata.push(ThreadMetadata { key, value });
        self
    }

    /// Sets the turn of the caller's loop that this command belongs to, from 1 to
    /// [`TURN_MAX`](baton_proto::limits::TURN_MAX); 0 is none. The spans of the command have it as `baton.turn`, and its
    /// record too. It needs no [`thread`](Self::thread).
    pub fn turn(mut self, number: u64) -> Self {
        self.turn = number;
        self
    }

    /// Sets the step of that turn, at most [`STEP_ID_MAX`](baton_proto::limits::STEP_ID_MAX) bytes without control
    /// characters; empty is none. Commands that the step runs in parallel have the same id. The spans of the command
    /// have it as `baton.step`, and its record too. It needs neither [`turn`](Self::turn) nor
    /// [`thread`](Self::thread).
    pub fn step(mut self, id: impl Into<String>) -> Self {
        self.step = id.into();
        self
    }

    /// Says how the program's standard output shows that it is ready, so that the exec-server measures the stages
    /// `family.cli_ready`, `family.session_init` and `family.first_output` (docs/STAGES.md,
    /// "Runtime families"). An exec-server without families ignores it. Report session init with
    /// [`Stdin::session_init_reached`](crate::Stdin::session_init_reached) or
    /// [`Run::session_init_reached`](crate::Run::session_init_reached).
    pub fn family(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    /// Names the command in traces, instead of its program's base name. Use a name of low cardinality, `build` and not
    /// `build 4711`, because traces are searched and counted by it. Do not use an argument.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Limits the bytes of output that [`crate::Client::run`] collects; [`limits::MAX_OUTPUT`] if not set. A command
    /// with more output is killed.
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }

    /// Returns the call record in [`crate::Output::record`], whether or not the client records calls. For a command
    /// that fails, use [`record_to`](Self::record_to).
    pub fn trace(mut self, trace: bool) -> Self {
        self.trace = trace;
        self
    }

    /// Sends the call record to `record_to` after the end of the call, instead of returning it in
    /// [`crate::Output::record`]. For a call that failed or was dropped, the record has what the client knows. Works
    /// for one call: a clone of this command that runs too has no record.
    pub fn record_to(mut self, record_to: RecordTo) -> Self {
        self.record_to = Some(record_to);
        self
    }

    /// Sets the caller's trace context (a [`TraceContext`](baton_trace::w3c::TraceContext), or one extracted from a
    /// carrier). Without it, the current `tracing` span is the parent, or a new trace begins.
    pub fn parent(mut self, parent: impl Into<ExtractedContext>) -> Self {
        self.parent = Some(parent.into());
        self
    }

    /// The names for error messages. The exec-server's messages never contain them.
    pub(crate) fn names(&self) -> DisplayNames {
        let shown = |name: &OsStr| printable(&name.to_string_lossy()).into_owned();
        DisplayNames {
            program: self
                .argv
                .first()
                .map(|program| shown(program))
                .unwrap_or_default(),
            cwd: self.cwd.as_deref().map(shown).unwrap_or_default(),
            user: self
                .user
                .as_deref()
                .map(|user| printable(user).into_owned())
                .unwrap_or_default(),
        }
    }

    pub(crate) fn into_start(self, stdin: bool) -> Start {
        let bytes = |text: &OsStr| Bytes::copy_from_slice(text.as_bytes());
        Start {
            process_id: self.id.map_or_else(process_id, |id| id.0).to_vec().into(),
            // `Client::start` sets it once there is a session.
            epoch: Bytes::new(),
            argv: self.argv.iter().map(|arg| bytes(arg)).collect(),
            cwd: self.cwd.as_deref().map(bytes).unwrap_or_default(),
            env: self
                .env
                .iter()
                .map(|(name, value)| EnvironmentVariable {
                    name: bytes(name),
                    value: bytes(value),
                })
                .collect(),
            clear_env: self.clear_env,
            stdin,
            drain_ms: self
                .drain
                .map(|limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX)),
            thread_id: self.thread,
            title: self.title,
            metadata: self.metadata,
            turn: self.turn,
            step: self.step,
            family: self.family.map_or_else(Default::default, Family::to_wire).into(),
            grace_ms: u32::try_from(self.grace.as_millis()).unwrap_or(u32::MAX),
            kill_grace_ms: self
                .kill_grace
                .map(|limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX)),
            tell_stdin: stdin && !self.grace.is_zero(),
            terminal: self.terminal.map(WindowSize::to_wire),
            login_shell: self.login_shell,
            detached: self.is_detached,
            drop_output: self.on_full == OnFull::Drop,
            tell_repeated: self.id.is_some() || self.is_detached,
            received: Bytes::new(),
        }
    }
}

/// A UUID of version 7, whose random bits need no system call.
fn process_id() -> [u8; 16] {
    let now = unix_now_ns() / 1_000_000;
    let random: [u8; 16] = random_bits().to_ne_bytes();
    let mut bits = [0; 10];
    bits.copy_from_slice(&random[..10]);
    uuid::Builder::from_unix_timestamp_millis(now, &bits)
        .into_uuid()
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_ids_are_uuids_of_version_7_that_differ_and_tell_when() {
        let before = unix_now_ns() / 1_000_000;
        let [one, other] = [process_id(), process_id()].map(uuid::Uuid::from_bytes);
        assert_ne!(one, other);
        assert_eq!(
            (one.get_version_num(), one.get_variant()),
            (7, uuid::Variant::RFC4122)
        );
        assert!(u128::from(before) <= one.as_u128() >> 80);
    }
}
