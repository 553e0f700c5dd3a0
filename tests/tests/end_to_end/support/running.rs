//! One `baton` command from start to end, with a deadline.

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Once;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::signal::unix::{SignalKind, signal};

use super::PATIENCE;

/// The standard input of a command.
pub(crate) enum Input {
    /// These bytes, then the end of input.
    Bytes(Vec<u8>),
    /// An open pipe without bytes.
    Open,
    /// Zeros until the command closes its input.
    Endless,
}

/// A running command. It is killed on drop.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// The result of a command.
pub(crate) struct Finished {
    /// Its exit code; 128 + N if signal N killed it.
    pub(crate) code: i32,
    /// The signal that killed it.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs a command with empty input and waits for its end.
pub(crate) fn run(command: Command) -> Finished {
    Running::start(command, Input::Bytes(Vec::new())).finish()
}

/// Installs handlers for ignored signals. The test process may ignore signals, as under `nohup` or in the background of
/// a shell, and a command would inherit that. Handlers are not inherited.
pub(super) fn heed_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()] {
            if ignored >> (kind.as_raw_value() - 1) & 1 == 1 {
                // The handler remains after this is dropped.
                drop(signal(kind).unwrap());
            }
        }
    });
}

impl Running {
    pub(crate) fn start(command: Command, input: Input) -> Self {
        let mut running = Self::start_unread(command, input);
        running.read();
        running
    }

    /// Starts a command whose stdout is not read before [`Running::read`].
    pub(crate) fn start_unread(mut command: Command, input: Input) -> Self {
        heed_signals();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take();
        let stderr = child.stderr.take().map(collect);
        match input {
            Input::Open => {}
            Input::Bytes(bytes) => feed(stdin.take(), move |pipe| {
                // Fails if the command has closed its input or ended.
                let _ = pipe.write_all(&bytes);
            }),
            Input::Endless => feed(
                stdin.take(),
                |pipe| while pipe.write_all(&[0; 64 * 1024]).is_ok() {},
            ),
        }
        Self {
            child,
            stdin,
            stdout: None,
            stderr,
        }
    }

    /// Starts to read its stdout.
    pub(crate) fn read(&mut self) {
        self.stdout = self.child.stdout.take().map(collect);
    }

    /// Writes to its stdin, which must be [`Input::Open`].
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        let ended = self.ends();
        if !ended {
            self.child.kill().unwrap();
        }
        let status = self.child.wait().unwrap();
        let take = |thread: &mut Option<JoinHandle<Vec<u8>>>| {
            thread
                .take()
                .map_or_else(Vec::new, |thread| thread.join().unwrap())
        };
        let finished = Finished {
            code: status
                .code()
                .or(status.signal().map(|signal| 128 + signal))
                .unwrap(),
            signal: status.signal(),
            stdout: take(&mut self.stdout),
            stderr: String::from_utf8_lossy(&take(&mut self.stderr)).into_owned(),
        };
        assert!(ended, "did not end within {PATIENCE:?}: {finished:?}");
        finished
    }

    fn ends(&self) -> bool {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&Timespec::try_from(left).unwrap())) {
                Err(rustix::io::Errno::INTR) => {}
                ready => return ready.unwrap() > 0,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Its stdout as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Asserts that it failed with `code` and `sentence` on stderr, without output on stdout and without control
    /// characters.
    #[track_caller]
    pub(crate) fn assert_failed(&self, code: i32, sentence: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(sentence), "no {sentence:?} in {self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert_printable(&self.stderr);
    }

    /// Asserts that it failed with `code`. Its stdout may have any content.
    #[track_caller]
    pub(crate) fn assert_failed_whatever(&self, code: i32) {
        assert_eq!(self.code, code, "{self:?}");
        assert_printable(&self.stderr);
    }

    /// Asserts that it succeeded with exactly this on stdout.
    #[track_caller]
    pub(crate) fn assert_printed(&self, stdout: &str) {
        assert_eq!((self.code, self.text()), (0, stdout), "{self:?}");
    }
}

/// Asserts that the text has no control character except line feeds.
#[track_caller]
pub(crate) fn assert_printable(text: &str) {
    let steers = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(steers, None, "{text:?}");
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.stdout[..self.stdout.len().min(1000)];
        f.debug_struct("Finished")
            .field("code", &self.code)
            .field("stdout", &String::from_utf8_lossy(shown))
            .field("stderr", &self.stderr)
            .finish()
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).unwrap();
        all
    })
}

fn feed(pipe: Option<ChildStdin>, write: impl FnOnce(&mut ChildStdin) + Send + 'static) {
    let mut pipe = pipe.unwrap();
    thread::spawn(move || write(&mut pipe));
}
