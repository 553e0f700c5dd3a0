//! A checked `Start`: its types hold only values that the operating system accepts.

use std::ffi::{CStr, CString};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use baton_proto::exec::{self, Start};
use baton_proto::limits::{
    RECEIVED_MAX, STEP_ID_MAX, THREAD_ID_MAX, THREAD_METADATA_BYTES_MAX, THREAD_METADATA_ENTRIES_MAX,
    THREAD_METADATA_KEY_MAX, THREAD_METADATA_VALUE_MAX, THREAD_TITLE_MAX, TURN_MAX,
};
use baton_proto::{Epoch, ProcessId};
use baton_spawn::Variable;
use baton_trace::command::{CallerIds, TracedCommand};
use baton_trace::family::Family;

use bytes::Bytes;
use rustix::termios::Winsize;

use super::environment::Changes;
use super::spawn::is_directory;
use super::terminal::{WindowSizeError, window_size};
use crate::error::{InvalidStart, StartError};
use crate::limits::{DRAIN_DEFAULT, DRAIN_MAX, KILL_GRACE, KILL_GRACE_MAX};
use crate::log::OnFull;
use crate::records::Thread;
use crate::user::{Account, RunAs};

/// A checked start: the command, and how long to wait for its pipes.
#[derive(Debug)]
pub struct Launch {
    pub(crate) process_id: ProcessId,
    pub(crate) epoch: Epoch,
    /// Distinguishes this start from another one with the same id.
    pub(super) parameters: [u8; 32],
    /// The program and its arguments; not empty, but for a login shell.
    pub(super) argv: Vec<CString>,
    /// `None` is the server's own.
    pub(super) cwd: Option<CString>,
    pub(super) environment: Changes,
    /// The program's file, where it is not looked for by the first of `argv`.
    pub(super) program: Option<CString>,
    /// The user; `None`: the server's own.
    pub(super) run_as: Option<RunAs>,
    /// The login shell runs `argv`, which is one line or nothing.
    pub(super) login_shell: bool,
    pub(super) stdin: bool,
    pub(super) terminal: Option<Winsize>,
    pub(super) drain: Duration,
    pub(super) family: Option<Family>,
    /// What the client asks for: the server's limit applies.
    pub(super) grace: Duration,
    /// Between the signal that asks the process group to end and SIGKILL, where the client decides it.
    pub(super) kill_grace: Duration,
    /// The client wants to know what input the process has taken.
    pub(super) tells_stdin: bool,
    /// No call stays attached to the process.
    pub(super) is_detached: bool,
    pub(super) on_full: OnFull,
    /// The client wants to know whether its start repeats another one.
    pub(super) tells_repeated: bool,
    /// Processes whose events the client has all received.
    pub(super) received: Bytes,
    /// Boxed: most starts have none.
    pub(super) thread: Option<Box<Thread>>,
    pub(super) turn: Option<NonZeroU64>,
    pub(super) step: Option<Box<str>>,
}

impl TryFrom<Start> for Launch {
    type Error = InvalidStart;

    fn try_from(start: Start) -> Result<Self, InvalidStart> {
        let process_id = ProcessId::try_from(&start.process_id[..]).map_err(|_| InvalidStart::ProcessId)?;
        let epoch = Epoch::try_from(&start.epoch[..]).map_err(|_| InvalidStart::Epoch)?;
        let parameters = start.parameters();
        let thread = thread(&start)?;
        let turn = turn(start.turn)?;
        let step = step(&start.step)?;
        let family = exec::Family::try_from(start.family).map_err(|_| InvalidStart::Family)?;
        if start.argv.is_empty() && !start.login_shell {
            return Err(InvalidStart::EmptyArgv);
        }
        let argv = start.argv.iter().map(|argument| CString::new(&argument[..]));
        let argv: Vec<_> = argv
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidStart::NulInArgv)?;
        if start.login_shell && argv.len() > 1 {
            return Err(InvalidStart::LoginShell);
        }
        let terminal = start.terminal.as_ref().map(window_size).transpose();
        let terminal = terminal.map_err(|WindowSizeError| InvalidStart::Terminal)?;
        if terminal.is_some() && !start.stdin {
            return Err(InvalidStart::Terminal);
        }
        if !start.received.len().is_multiple_of(size_of::<ProcessId>())
            || start.received.len() > RECEIVED_MAX * size_of::<ProcessId>()
        {
            return Err(InvalidStart::Received);
        }
        if start.detached && start.stdin {
            return Err(InvalidStart::DetachedStdin);
        }
        let cwd = match &start.cwd[..] {
            [] => None,
            cwd => Some(CString::new(cwd).map_err(|_| InvalidStart::NulInCwd)?),
        };
        // Room for the trace context and the mark.
        let mut own = Vec::with_capacity(start.env.len() + 4);
        for variable in &start.env {
            if variable.name.is_empty() || variable.name.contains(&b'=') {
                return Err(InvalidStart::VariableName);
            }
            let variable = Variable::new(&variable.name, &variable.value);
            own.push(variable.ok_or(InvalidStart::NulInEnvironment)?);
        }
        let drain = start.drain_ms.map_or(DRAIN_DEFAULT, |ms| {
            Duration::from_millis(ms.into()).min(DRAIN_MAX)
        });
        let kill_grace = start.kill_grace_ms.map_or(KILL_GRACE, |ms| {
            Duration::from_millis(ms.into()).min(KILL_GRACE_MAX)
        });
        Ok(Self {
            process_id,
            epoch,
            parameters,
            argv,
            cwd,
            environment: Changes {
                own,
                clear: start.clear_env,
            },
            program: None,
            run_as: None,
            login_shell: start.login_shell,
            stdin: start.stdin,
            terminal,
            drain,
            family: Family::from_wire(family),
            grace: Duration::from_millis(start.grace_ms.into()),
            kill_grace,
            tells_stdin: start.tell_stdin,
            is_detached: start.detached,
            on_full: match start.drop_output {
                true => OnFull::Drop,
                false => OnFull::Block,
            },
            tells_repeated: start.tell_repeated,
            received: start.received,
            thread,
            turn,
            step,
        })
    }
}

impl Launch {
    /// The id its client chose.
    pub fn process_id(&self) -> ProcessId {
        self.process_id
    }

    /// The program and its arguments; not empty.
    pub fn argv(&self) -> &[CString] {
        &self.argv
    }

    /// The command's attributes in spans: the program's name and the ids, without arguments and variables.
    pub(super) fn traced_command(&self, client: &str) -> TracedCommand {
        let program = self.program.as_ref().or(self.argv.first());
        let program = program.map(|program| program.to_bytes());
        let ids = CallerIds {
            thread: self.thread.as_ref().map(|thread| &*thread.id),
            turn: self.turn,
            step: self.step.as_deref(),
        };
        TracedCommand::for_client(client, program.unwrap_or_default(), self.process_id, ids)
    }

    /// The name of the user that it runs as; `None`: the server's own.
    pub(super) fn user(&self) -> Option<&Arc<str>> {
        Some(&self.run_as.as_ref()?.name)
    }

    /// The user that it runs as; `None`: the server's own.
    pub(super) fn take_account(&mut self) -> Result<Option<Arc<Account>>, StartError> {
        let account = self.run_as.take().map(|run_as| run_as.account);
        Ok(account.transpose()?)
    }

    /// Sets the working directory to the home of its user, or to `home` for the server's own, if the start names none
    /// and the directory exists: a user may have none. A child that becomes another user finds its home by itself.
    pub(super) fn start_in(&mut self, home: Option<&CStr>) {
        let home = match self.run_as.as_ref().map(|run_as| &run_as.account) {
            None => home,
            Some(Ok(account)) if !account.is_become => Some(&*account.home),
            Some(_) => return,
        };
        if self.cwd.is_none() {
            self.cwd = home.filter(|home| is_directory(home)).map(CStr::to_owned);
        }
    }

    /// Whether the client sends stdin.
    pub fn has_stdin(&self) -> bool {
        self.stdin
    }
}

/// The turn in a start, checked.
fn turn(number: u64) -> Result<Option<NonZeroU64>, InvalidStart> {
    match number {
        0..=TURN_MAX => Ok(NonZeroU64::new(number)),
        _ => Err(InvalidStart::Turn),
    }
}

/// The step in a start, checked.
fn step(id: &str) -> Result<Option<Box<str>>, InvalidStart> {
    if id.len() > STEP_ID_MAX || id.chars().any(char::is_control) {
        return Err(InvalidStart::StepId);
    }
    Ok((!id.is_empty()).then(|| id.into()))
}

/// The thread in a start, checked.
fn thread(start: &Start) -> Result<Option<Box<Thread>>, InvalidStart> {
    let Start {
        thread_id: id,
        title,
        metadata,
        ..
    } = start;
    if id.is_empty() {
        let is_bare = title.is_empty() && metadata.is_empty();
        return is_bare.then_some(None).ok_or(InvalidStart::NoThread);
    }
    if id.len() > THREAD_ID_MAX || id.chars().any(char::is_control) {
        return Err(InvalidStart::ThreadId);
    }
    if title.len() > THREAD_TITLE_MAX {
        return Err(InvalidStart::ThreadTitle);
    }
    if metadata.len() > THREAD_METADATA_ENTRIES_MAX {
        return Err(InvalidStart::ThreadMetadata);
    }
    let mut kept: Vec<(String, String)> = Vec::with_capacity(metadata.len());
    let mut bytes = 0;
    for entry in metadata {
        bytes += entry.key.len() + entry.value.len();
        let is_bad = entry.key.is_empty()
            || entry.key.len() > THREAD_METADATA_KEY_MAX
            || entry.value.len() > THREAD_METADATA_VALUE_MAX
            || bytes > THREAD_METADATA_BYTES_MAX
            || kept.iter().any(|(key, _)| *key == entry.key);
        if is_bad {
            return Err(InvalidStart::ThreadMetadata);
        }
        kept.push((entry.key.clone(), entry.value.clone()));
    }
    Ok(Some(Box::new(Thread {
        id: id.clone(),
        title: Some(title.clone()).filter(|title| !title.is_empty()),
        metadata: kept,
    })))
}

#[cfg(test)]
mod tests {
    use baton_proto::exec::{EnvironmentVariable, ThreadMetadata};

    use super::*;

    fn start() -> Start {
        Start {
            process_id: vec![1; 16].into(),
            epoch: vec![2; 16].into(),
            argv: vec!["true".into()],
            ..Start::default()
        }
    }

    fn variable(name: &'static [u8], value: &'static [u8]) -> EnvironmentVariable {
        EnvironmentVariable {
            name: name.into(),
            value: value.into(),
        }
    }

    #[test]
    fn everything_the_operating_system_would_truncate_is_refused() {
        let cases = [
            (
                InvalidStart::ProcessId,
                Start {
                    process_id: vec![1; 15].into(),
                    ..start()
                },
            ),
            (
                InvalidStart::Epoch,
                Start {
                    epoch: vec![1; 17].into(),
                    ..start()
                },
            ),
            (
                InvalidStart::EmptyArgv,
                Start {
                    argv: vec![],
                    ..start()
                },
            ),
            (
                InvalidStart::NulInArgv,
                Start {
                    argv: vec!["a\0".into()],
                    ..start()
                },
            ),
            (
                InvalidStart::NulInArgv,
                Start {
                    argv: vec!["a".into(), "\0".into()],
                    ..start()
                },
            ),
            (
                InvalidStart::NulInCwd,
                Start {
                    cwd: "/\0".into(),
                    ..start()
                },
            ),
            (
                InvalidStart::NulInEnvironment,
                Start {
                    env: vec![variable(b"a\0", b"")],
                    ..start()
                },
            ),
            (
                InvalidStart::NulInEnvironment,
                Start {
                    env: vec![variable(b"a", b"\0")],
                    ..start()
                },
            ),
            (
                InvalidStart::VariableName,
                Start {
                    env: vec![variable(b"a=b", b"")],
                    ..start()
                },
            ),
            (
                InvalidStart::VariableName,
                Start {
                    env: vec![variable(b"", b"x")],
                    ..start()
                },
            ),
        ];
        for (expected, start) in cases {
            assert_eq!(Launch::try_from(start).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_drain_is_cut_to_its_limit() {
        let launch = Launch::try_from(Start {
            drain_ms: Some(u32::MAX),
            ..start()
        })
        .unwrap();
        assert_eq!(launch.drain, DRAIN_MAX);
        assert_eq!(Launch::try_from(start()).unwrap().drain, DRAIN_DEFAULT);
    }

    #[test]
    fn a_kill_grace_may_be_0_and_is_cut_to_its_limit() {
        let of = |kill_grace_ms| {
            let launch = Launch::try_from(Start {
                kill_grace_ms,
                ..start()
            });
            launch.unwrap().kill_grace
        };
        assert_eq!(of(None), KILL_GRACE);
        assert_eq!(of(Some(0)), Duration::ZERO);
        assert_eq!(of(Some(5_000)), Duration::from_secs(5));
        assert_eq!(of(Some(u32::MAX)), KILL_GRACE_MAX);
    }

    fn entry(key: &str, value: &str) -> ThreadMetadata {
        ThreadMetadata {
            key: key.into(),
            value: value.into(),
        }
    }

    fn on_thread(metadata: Vec<ThreadMetadata>) -> Start {
        Start {
            thread_id: "t".into(),
            metadata,
            ..start()
        }
    }

    #[test]
    fn a_turn_and_a_step_are_bounded_and_need_no_thread() {
        let of = |turn, step: &str| {
            let launch = Launch::try_from(Start {
                turn,
                step: step.into(),
                ..start()
            });
            launch.map(|launch| (launch.turn.map(NonZeroU64::get), launch.step))
        };
        assert_eq!(of(0, ""), Ok((None, None)));
        assert_eq!(of(1, ""), Ok((Some(1), None)));
        assert_eq!(of(0, "s"), Ok((None, Some("s".into()))));
        let longest = "s".repeat(STEP_ID_MAX);
        assert_eq!(
            of(TURN_MAX, &longest),
            Ok((Some(TURN_MAX), Some((*longest).into())))
        );
        for (turn, step, expected) in [
            (TURN_MAX + 1, "", InvalidStart::Turn),
            (u64::MAX, "s", InvalidStart::Turn),
            (1, &*"s".repeat(STEP_ID_MAX + 1), InvalidStart::StepId),
            (1, "a\nb", InvalidStart::StepId),
            (1, "\u{9b}2J", InvalidStart::StepId),
        ] {
            assert_eq!(of(turn, step), Err(expected), "{turn} {step:?}");
        }
    }

    #[test]
    fn a_threads_title_and_metadata_are_bounded_and_need_an_id() {
        let refused = [
            (
                InvalidStart::ThreadId,
                Start {
                    thread_id: "t".repeat(THREAD_ID_MAX + 1),
                    ..start()
                },
            ),
            (
                InvalidStart::ThreadId,
                Start {
                    thread_id: "a\nb".into(),
                    ..start()
                },
            ),
            (
                InvalidStart::ThreadTitle,
                Start {
                    title: "t".repeat(THREAD_TITLE_MAX + 1),
                    ..on_thread(vec![])
                },
            ),
            (
                InvalidStart::NoThread,
                Start {
                    title: "t".into(),
                    ..start()
                },
            ),
            (
                InvalidStart::NoThread,
                Start {
                    metadata: vec![entry("k", "v")],
                    ..start()
                },
            ),
            (
                InvalidStart::ThreadMetadata,
                on_thread(vec![entry("k", ""); THREAD_METADATA_ENTRIES_MAX + 1]),
            ),
            (
                InvalidStart::ThreadMetadata,
                on_thread(vec![entry("k", "a"), entry("k", "b")]),
            ),
            (InvalidStart::ThreadMetadata, on_thread(vec![entry("", "a")])),
            (
                InvalidStart::ThreadMetadata,
                on_thread(vec![entry(&"k".repeat(THREAD_METADATA_KEY_MAX + 1), "")]),
            ),
            (
                InvalidStart::ThreadMetadata,
                on_thread(vec![entry("k", &"v".repeat(THREAD_METADATA_VALUE_MAX + 1))]),
            ),
            (
                InvalidStart::ThreadMetadata,
                on_thread(
                    ["a", "b", "c", "d"]
                        .map(|key| entry(key, &"v".repeat(THREAD_METADATA_VALUE_MAX)))
                        .to_vec(),
                ),
            ),
        ];
        for (expected, start) in refused {
            assert_eq!(Launch::try_from(start).unwrap_err(), expected);
        }
        let launch = Launch::try_from(Start {
            title: "a title".into(),
            ..on_thread(vec![entry("k", &"v".repeat(THREAD_METADATA_VALUE_MAX))])
        });
        let thread = launch.unwrap().thread.unwrap();
        assert_eq!((&*thread.id, thread.title.as_deref()), ("t", Some("a title")));
        assert_eq!(thread.metadata[0].0, "k");
        assert_eq!(Launch::try_from(start()).unwrap().thread, None);
    }
}
