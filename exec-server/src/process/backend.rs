//! What makes processes and holds them: the operating system, or a fake one of a simulation.
//!
//! Everything above is the same for both: which signal when, when a process is over, the order of its events, its log, its stdin,
//! the table. The seam costs nothing: the driver is compiled for its backend.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use baton_proto::exec::exited::Status;
use baton_spawn::{CloneUnavailable, InheritedState, Selected};
use baton_trace::w3c::TraceContext;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::launch::Launch;
use super::leader::Leader;
use super::pipe::Pipe;
use super::spawn::{Spawned, Spawner};
use crate::error::StartError;
use crate::settings::Settings;

/// Makes processes.
pub trait Backend: Clone + fmt::Debug + Send + Sync + 'static {
    /// A process group, by its leader.
    type Group: ProcessGroup;
    /// The writing end of a process's standard input.
    type Stdin: AsyncWrite + Unpin + Send + 'static;
    /// The reading end of its standard output.
    type Stdout: AsyncRead + Unpin + Send + 'static;
    /// The reading end of its standard error.
    type Stderr: AsyncRead + Unpin + Send + 'static;

    /// Starts a process, its pipes attached before it can write, or says why not, in which case nothing runs. Whether it can
    /// execute its program may turn out later, see [`Exec`]. `context` is the position in its caller's trace that it is told.
    fn spawn(&self, launch: Launch, context: Option<&TraceContext>) -> Result<Running<Self>, StartError>;

    /// The process that prints there has exited: nothing is held open for it any more.
    fn release_child_ends(_stdout: Option<&mut Self::Stdout>, _stderr: Option<&mut Self::Stderr>) {}
}

/// A process that runs, or is about to.
#[derive(Debug)]
pub struct Running<B: Backend> {
    /// Whether it executes its program.
    pub exec: Arc<dyn Exec>,
    /// Its group.
    pub group: B::Group,
    /// `None` when its standard input is empty.
    pub stdin: Option<B::Stdin>,
    /// Its standard output.
    pub stdout: B::Stdout,
    /// Its standard error.
    pub stderr: B::Stderr,
}

/// How far a process is on its way to its program. Nobody is told when that changes, but one that fails exits, and one that writes has
/// executed.
pub trait Exec: fmt::Debug + Send + Sync {
    /// As it is now.
    fn state(&self) -> ExecState;
}

/// See [`Exec`].
#[derive(Debug)]
pub enum ExecState {
    /// Not there yet.
    Pending,
    /// It executes its program since then; `None` if it was killed before it could.
    Executed(Option<Instant>),
    /// It cannot, and nothing ran.
    Failed(StartError),
}

/// For a process that executed at once.
impl Exec for Instant {
    fn state(&self) -> ExecState {
        ExecState::Executed(Some(*self))
    }
}

/// A process group, by its leader. Dropping one that was not reaped kills it.
pub trait ProcessGroup: Send + 'static {
    /// The leader's process id.
    fn pid(&self) -> u32;

    /// Waits for the leader's exit. The group can still be signalled then.
    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Status>>;

    /// Signals the whole group; does nothing once it is reaped.
    fn signal(&mut self, signal: Signal);

    /// Forgets the leader, which has exited. Its group is never signalled again.
    fn reap(&mut self);
}

/// The operating system. Clones share what children have in common.
#[derive(Debug, Clone)]
pub struct System(Arc<Spawner>);

impl System {
    /// Children inherit the environment as it is now, and nothing that [`InheritedState`] has. They are created by the method that a probe
    /// selects.
    pub(crate) fn auto() -> Self {
        Self::new(Selected::auto(InheritedState::capture(None)))
    }

    /// As `settings` has it.
    ///
    /// # Errors
    /// The method of creating children does not work here.
    pub(crate) fn with(settings: &Settings) -> Result<Self, CloneUnavailable> {
        let inherited = InheritedState::capture(settings.open_files);
        Ok(Self::new(settings.spawn.select(inherited)?))
    }

    fn new(children: Selected) -> Self {
        Self(Arc::new(Spawner::new(children)))
    }

    /// How children are created.
    pub(crate) fn children(&self) -> &Selected {
        self.0.children()
    }
}

impl Backend for System {
    type Group = Leader;
    type Stdin = Pipe<Sender>;
    type Stdout = Pipe<Receiver>;
    type Stderr = Pipe<Receiver>;

    fn spawn(&self, launch: Launch, context: Option<&TraceContext>) -> Result<Running<Self>, StartError> {
        let Spawned {
            leader,
            execution,
            stdin,
            stdout,
            stderr,
        } = self.0.spawn(launch, context)?;
        Ok(Running {
            exec: Arc::new(execution),
            group: leader,
            stdin,
            stdout,
            stderr,
        })
    }

    fn release_child_ends(stdout: Option<&mut Self::Stdout>, stderr: Option<&mut Self::Stderr>) {
        stdout.into_iter().chain(stderr).for_each(Pipe::release_child_end);
    }
}

impl ProcessGroup for Leader {
    fn pid(&self) -> u32 {
        Leader::pid(self)
    }

    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Status>> {
        Leader::poll_exit(self, cx)
    }

    fn signal(&mut self, signal: Signal) {
        self.signal_group(signal);
    }

    fn reap(&mut self) {
        Leader::reap(self);
    }
}
