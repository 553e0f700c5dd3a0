//! A running helper process.
//!
//! Two threads read its stdout and stderr, so that it never blocks on a full pipe. The end of its stderr is kept for
//! error messages.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::limits::{STDERR_KEPT, STDERR_PATIENCE};

/// A helper process. Killed and reaped when dropped.
#[derive(Debug)]
pub struct RunningProgram {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Arc<Mutex<Vec<u8>>>,
    /// Closed once all of stderr has been read.
    stderr_read: Receiver<()>,
}

/// A helper process failed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The operating system could not start it.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The name of the program.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// It ended, or closed its standard streams.
    #[error("{program} has ended; the end of its stderr: {stderr}")]
    Ended {
        /// The name of the program.
        program: String,
        /// The end of its stderr.
        stderr: String,
    },
    /// It neither answered nor exited in time.
    #[error("{program} did not answer or exit within {waited:?}; the end of its stderr: {stderr}")]
    Silent {
        /// The name of the program.
        program: String,
        /// The time that the caller waited.
        waited: Duration,
        /// The end of its stderr.
        stderr: String,
    },
    /// The operating system refused something else.
    #[error("{program}: {source}")]
    System {
        /// The name of the program.
        program: String,
        /// The cause.
        source: io::Error,
    },
}

impl RunningProgram {
    /// Starts a helper with pipes for its standard streams. `name` appears in errors.
    ///
    /// # Errors
    /// [`ProgramError::Start`].
    pub fn start(name: &str, mut command: Command) -> Result<Self, ProgramError> {
        let failed = |source| ProgramError::Start {
            program: name.to_owned(),
            source,
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (send, lines) = mpsc::channel();
        let stdout = child.stdout.take();
        thread::spawn(move || {
            let lines = stdout
                .into_iter()
                .flat_map(|stdout| BufReader::new(stdout).lines());
            // Ends when the helper closes stdout, or when the handle is dropped.
            let _ = lines.map_while(Result::ok).try_for_each(|line| send.send(line));
        });
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (pipe, kept) = (child.stderr.take(), Arc::clone(&stderr));
        let (open, stderr_read) = mpsc::channel();
        thread::spawn(move || {
            let _closed_when_dropped = open;
            if let Some(pipe) = pipe {
                keep(pipe, &kept);
            }
        });
        Ok(Self {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            lines,
            stderr,
            stderr_read,
        })
    }

    /// The name given to [`start`](Self::start).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to its stdin.
    ///
    /// # Errors
    /// [`ProgramError::Ended`].
    pub fn send_line(&mut self, line: &str) -> Result<(), ProgramError> {
        let written = match &mut self.stdin {
            Some(stdin) => stdin.write_all(format!("{line}\n").as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(|_| self.ended())
    }

    /// The next line of its stdout.
    ///
    /// # Errors
    /// [`ProgramError::Silent`] after `patience`, [`ProgramError::Ended`].
    pub fn line(&mut self, patience: Duration) -> Result<String, ProgramError> {
        self.lines.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => self.silent(patience),
            RecvTimeoutError::Disconnected => self.ended(),
        })
    }

    /// The next line of its stdout that begins with `prefix`, without the prefix. Other lines are skipped.
    ///
    /// # Errors
    /// [`ProgramError::Silent`] after `patience`, [`ProgramError::Ended`].
    pub fn line_after(&mut self, prefix: &str, patience: Duration) -> Result<String, ProgramError> {
        let deadline = Instant::now() + patience;
        loop {
            let line = self.line(deadline.saturating_duration_since(Instant::now()))?;
            if let Some(rest) = line.strip_prefix(prefix) {
                return Ok(rest.trim().to_owned());
            }
        }
    }

    /// Writes a line to its stdin and returns the next line of its stdout.
    ///
    /// # Errors
    /// [`ProgramError::Silent`] after `patience`, [`ProgramError::Ended`].
    pub fn ask(&mut self, line: &str, patience: Duration) -> Result<String, ProgramError> {
        self.send_line(line)?;
        self.line(patience)
    }

    /// The end of what it has written to stderr.
    pub fn stderr(&self) -> String {
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim().to_owned()
    }

    /// Closes its stdin, which ends a program that reads it to its end.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Closes its stdin and sends it SIGTERM.
    pub fn terminate(&mut self) {
        self.stdin = None;
        // Fails if it has ended. It is not reaped yet, so its pid is not reused.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill(&mut self) {
        // Fails only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it with SIGSTOP, as if its machine hung: it reads nothing, and its connections stay open.
    ///
    /// # Errors
    /// [`ProgramError::System`].
    pub fn freeze(&self) -> Result<(), ProgramError> {
        self.signal(Signal::STOP)
    }

    /// Continues it with SIGCONT.
    ///
    /// # Errors
    /// [`ProgramError::System`].
    pub fn thaw(&self) -> Result<(), ProgramError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), ProgramError> {
        kill_process(Pid::from_child(&self.child), signal).map_err(|errno| self.system(errno.into()))
    }

    /// Waits until it has exited, then up to [`STDERR_PATIENCE`] for the end of its stderr, which a descendant may hold
    /// open.
    ///
    /// # Errors
    /// [`ProgramError::Silent`] after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus, ProgramError> {
        let ended = ends_within(&self.child, patience).map_err(|errno| self.system(errno.into()))?;
        if !ended {
            return Err(self.silent(patience));
        }
        let status = self.child.wait().map_err(|error| self.system(error))?;
        // On a timeout, the error messages have the part of stderr that was read.
        let _ = self.stderr_read.recv_timeout(STDERR_PATIENCE);
        Ok(status)
    }

    fn ended(&self) -> ProgramError {
        ProgramError::Ended {
            program: self.name.clone(),
            stderr: self.stderr(),
        }
    }

    fn silent(&self, waited: Duration) -> ProgramError {
        ProgramError::Silent {
            program: self.name.clone(),
            waited,
            stderr: self.stderr(),
        }
    }

    fn system(&self, source: io::Error) -> ProgramError {
        ProgramError::System {
            program: self.name.clone(),
            source,
        }
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ends_within(child: &Child, patience: Duration) -> rustix::io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(
            &mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)],
            Some(&timeout),
        ) {
            Err(Errno::INTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

fn keep(mut pipe: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = pipe.read(&mut chunk) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&chunk[..read]);
        let excess = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> RunningProgram {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        RunningProgram::start("shell", command).unwrap()
    }

    #[test]
    fn a_program_answers_line_by_line() {
        let mut echo = shell("echo ready; while read line; do echo \"got $line\"; done");
        assert_eq!(echo.line(PATIENCE).unwrap(), "ready");
        assert_eq!(echo.ask("one", PATIENCE).unwrap(), "got one");
        assert_eq!(echo.ask("two", PATIENCE).unwrap(), "got two");
        echo.terminate();
        assert!(echo.wait(PATIENCE).is_ok());
    }

    #[test]
    fn lines_before_the_awaited_one_are_skipped() {
        let mut program = shell("echo noise; echo 'ticket: abc'");
        assert_eq!(program.line_after("ticket:", PATIENCE).unwrap(), "abc");
    }

    #[test]
    fn silence_and_exit_are_different_errors() {
        let mut silent = shell("exec sleep 60");
        assert!(matches!(
            silent.line(Duration::from_millis(1)),
            Err(ProgramError::Silent { .. })
        ));
        let mut ended = shell("echo 'cannot go on' >&2; exit 3");
        assert_eq!(ended.wait(PATIENCE).unwrap().code(), Some(3));
        assert!(matches!(ended.line(PATIENCE), Err(ProgramError::Ended { .. })));
    }

    #[test]
    fn a_program_that_ignores_sigterm_is_killed_when_dropped() {
        let mut program = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
        program.line_after("ready", PATIENCE).unwrap();
        program.terminate();
        assert!(matches!(
            program.wait(Duration::from_millis(50)),
            Err(ProgramError::Silent { .. })
        ));
        let pid = Pid::from_child(&program.child);
        drop(program);
        assert_eq!(kill_process(pid, Signal::TERM), Err(Errno::SRCH));
    }

    #[test]
    fn a_frozen_program_does_not_answer_until_thawed() {
        let mut echo = shell("while read line; do echo \"got $line\"; done");
        assert_eq!(echo.ask("one", PATIENCE).unwrap(), "got one");
        echo.freeze().unwrap();
        echo.send_line("two").unwrap();
        assert!(matches!(
            echo.line(Duration::from_millis(50)),
            Err(ProgramError::Silent { .. })
        ));
        echo.thaw().unwrap();
        assert_eq!(echo.line(PATIENCE).unwrap(), "got two");
    }

    #[test]
    fn only_the_end_of_stderr_is_kept() {
        let mut program = shell("seq 1 20000 >&2; echo end >&2");
        program.wait(PATIENCE).unwrap();
        assert!(program.stderr().ends_with("20000\nend"));
        assert!(program.stderr().len() <= STDERR_KEPT);
    }
}
