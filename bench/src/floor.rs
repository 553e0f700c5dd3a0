//! The floor: the cost of a program that runs a command itself, with tokio, and waits for its exit and the end of its
//! output. Remote execution cannot be faster.
//!
//! The command has what Baton gives it: /dev/null or a pipe as stdin, and pipes as stdout and stderr, which are read to
//! end of file. There are two ways to start it:
//!
//! * through the standard library, which takes its `posix_spawn` path here: absolute program, inherited environment, no
//!   `pre_exec`;
//! * by the clone of `baton-spawn`, which does not wait for the child's exec, as the exec-server starts commands.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::process::Stdio;
use std::sync::Arc;

use baton_spawn::{Environment, Image, InheritedState, Method, Selected, Variable};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio::runtime::{Builder, Runtime};

/// The program: an absolute path, so that no `PATH` is searched.
pub const PROGRAM: &str = "/bin/true";

/// The runtime that the floor uses. Which one is faster depends on the machine. The benchmark compares with the faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// tokio's current-thread runtime.
    CurrentThread,
    /// tokio's multi-thread runtime with two worker threads.
    TwoWorkers,
}

/// How the floor starts a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartMethod {
    /// The standard library.
    Std,
    /// `baton-spawn`'s clone.
    Clone,
}

/// The stdin of the floor's command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// /dev/null, as of `Client::run`.
    Null,
    /// A pipe, which is closed at once; of `Client::start`.
    Pipe,
}

/// A program that runs commands itself. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Floor(Option<Arc<Cloning>>);

/// What all children of the clone share.
#[derive(Debug)]
struct Cloning {
    selected: Selected,
    environment: Arc<[Variable]>,
    null: OwnedFd,
}

impl Flavour {
    /// All flavours.
    pub const ALL: [Self; 2] = [Self::CurrentThread, Self::TwoWorkers];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::CurrentThread => "current-thread",
            Self::TwoWorkers => "two-workers",
        }
    }

    /// A new runtime of this flavour.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn runtime(self) -> io::Result<Runtime> {
        match self {
            Self::CurrentThread => Builder::new_current_thread().enable_all().build(),
            Self::TwoWorkers => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        }
    }
}

impl StartMethod {
    /// All methods.
    pub const ALL: [Self; 2] = [Self::Std, Self::Clone];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Std => "posix_spawn",
            Self::Clone => "clone",
        }
    }
}

impl Floor {
    /// A floor that starts commands in this way.
    ///
    /// # Errors
    /// An error of the operating system, or clone is refused here.
    pub fn new(method: StartMethod) -> io::Result<Self> {
        if method == StartMethod::Std {
            return Ok(Self(None));
        }
        let selected = Method::Clone.select(InheritedState::capture(None));
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Variable::new(&name.into_vec(), &value.into_vec()))
            .collect();
        Ok(Self(Some(Arc::new(Cloning {
            selected: selected.map_err(io::Error::other)?,
            environment,
            null: File::open("/dev/null")?.into(),
        }))))
    }

    /// Runs a command, and waits for its exit and the end of its output.
    ///
    /// # Errors
    /// An error of the operating system, or a failure status of the program.
    pub async fn run(&self, argv: &[&str], input: Input) -> io::Result<()> {
        match &self.0 {
            None => run_by_std(argv, input).await,
            Some(cloning) => cloning.run(argv, input).await,
        }
    }
}

fn program_of<'a>(argv: &[&'a str]) -> io::Result<&'a str> {
    argv.first()
        .copied()
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

async fn run_by_std(argv: &[&str], input: Input) -> io::Result<()> {
    let program = program_of(argv)?;
    let child = Command::new(program)
        .args(&argv[1..])
        .stdin(match input {
            Input::Null => Stdio::null(),
            Input::Pipe => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = child.wait_with_output().await?;
    succeeded(program, output.status.success())
}

fn succeeded(program: &str, success: bool) -> io::Result<()> {
    match success {
        true => Ok(()),
        false => Err(io::Error::other(format!("{program} failed"))),
    }
}

impl Cloning {
    async fn run(&self, argv: &[&str], input: Input) -> io::Result<()> {
        let program = program_of(argv)?;
        let text = |text: &str| CString::new(text).map_err(io::Error::other);
        let image = Image {
            program: text(program)?,
            arguments: argv.iter().copied().map(text).collect::<io::Result<_>>()?,
            environment: Environment::new(Some(Arc::clone(&self.environment)), Vec::new()),
            cwd: None,
            terminal: false,
            cgroup: None,
        };
        let stdin = match input {
            Input::Null => None,
            Input::Pipe => Some(pipe_with(PipeFlags::CLOEXEC)?),
        };
        let (stdout, childs_stdout) = child_writes()?;
        let (stderr, childs_stderr) = child_writes()?;
        let childs_stdin = stdin.as_ref().map_or(&self.null, |(theirs, _)| theirs);
        let stdio = [childs_stdin.as_fd(), childs_stdout.as_fd(), childs_stderr.as_fd()];
        let spawned = self.selected.spawner.spawn(image, stdio);
        let child = spawned.map_err(io::Error::other)?;
        drop((stdin, childs_stdout, childs_stderr));
        let pidfd = child.pidfd.ok_or(io::ErrorKind::Unsupported)?;
        let exit = watch(pidfd)?;
        tokio::try_join!(read_to_end(stdout), read_to_end(stderr))?;
        let _ = exit.readable().await?;
        let status = waitpid(Some(child.pid), WaitOptions::empty())?;
        let success = status.is_some_and(|(_, status)| status.exit_status() == Some(0));
        succeeded(program, success)
    }
}

/// A pipe that a child writes: this process's end, then the child's.
fn child_writes() -> io::Result<(Receiver, OwnedFd)> {
    let (own, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&own, OFlags::NONBLOCK)?;
    Ok((Receiver::from_owned_fd_unchecked(own)?, theirs))
}

async fn read_to_end(mut pipe: Receiver) -> io::Result<usize> {
    pipe.read_to_end(&mut Vec::new()).await
}

#[expect(
    deprecated,
    reason = "it is deprecated for types whose descriptor may change, unlike an OwnedFd; its successor is unsafe"
)]
fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// A running `cat`, to which bytes are sent and from which they come back.
#[derive(Debug)]
pub struct Cat(tokio::process::Child);

impl Cat {
    /// The program.
    pub const PROGRAM: &str = "/bin/cat";

    /// Starts it with three pipes.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn start() -> io::Result<Self> {
        let mut command = Command::new(Self::PROGRAM);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(Self(command.kill_on_drop(true).spawn()?))
    }

    /// Sends a byte and waits until it comes back.
    ///
    /// # Errors
    /// An error of the operating system, or the program has ended.
    pub async fn round_trip(&mut self) -> io::Result<()> {
        let (Some(stdin), Some(stdout)) = (&mut self.0.stdin, &mut self.0.stdout) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        stdin.write_all(b"x").await?;
        stdout.read_u8().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_support::load::{in_flight, sequential};

    #[test]
    fn every_floor_executes_in_a_row_and_at_once() {
        for flavour in Flavour::ALL {
            for method in StartMethod::ALL {
                flavour.runtime().unwrap().block_on(async {
                    let floor = Floor::new(method).unwrap();
                    for input in [Input::Null, Input::Pipe] {
                        let once = || floor.run(&[PROGRAM], input);
                        assert_eq!(sequential(3, once).await.unwrap().len(), 3);
                    }
                    let floor = floor.clone();
                    let once = move || {
                        let floor = floor.clone();
                        async move { floor.run(&[PROGRAM], Input::Null).await }
                    };
                    in_flight(8, 4, once).await.unwrap();
                });
            }
        }
    }

    /// The command checks its own descriptors: what the floor gives it is what it measures.
    #[test]
    fn the_command_has_the_stdin_that_the_floor_names_and_pipes_as_output() {
        const NULL: &str = "test /dev/stdin -ef /dev/null && test -p /dev/stdout && test -p /dev/stderr";
        const PIPE: &str = "test -p /dev/stdin && test -p /dev/stdout && test -p /dev/stderr && ! read line";
        for method in StartMethod::ALL {
            Flavour::CurrentThread.runtime().unwrap().block_on(async {
                let floor = Floor::new(method).unwrap();
                for (script, input) in [(NULL, Input::Null), (PIPE, Input::Pipe)] {
                    floor.run(&["/bin/sh", "-c", script], input).await.unwrap();
                }
                let swapped = floor.run(&["/bin/sh", "-c", NULL], Input::Pipe).await;
                assert!(swapped.is_err(), "{method:?}");
            });
        }
    }

    #[test]
    fn a_byte_comes_back_from_cat() {
        Flavour::CurrentThread.runtime().unwrap().block_on(async {
            let mut cat = Cat::start().unwrap();
            cat.round_trip().await.unwrap();
            cat.round_trip().await.unwrap();
        });
    }
}
