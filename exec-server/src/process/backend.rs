//! The backend that creates processes: the operating system, or the fake one of a simulation.
//!
//! The code above it is the same for both: signals, the lifecycle, the order of events, the log, stdin and the table.
//! The abstraction has no cost at run time, because the driver is generic over its backend.

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

use super::child_io::{ChildInput, ChildOutput};
use super::launch::Launch;
use super::orphans::OwnChildren;
use super::spawn::{Spawned, Spawner};
use super::terminal::Terminal;
use super::tree::{Tree, child_zombies};
use crate::error::StartError;
use crate::settings::Settings;

/// Creates processes.
pub trait Backend: Clone + fmt::Debug + Send + Sync + 'static {
    /// A process group, by its leader.
    type Group: ProcessGroup;
    /// The writing end of a process's standard input.
    type Stdin: AsyncWrite + Unpin + Send + 'static;
    /// The reading end of its standard output.
    type Stdout: AsyncRead + Unpin + Send + 'static;
    /// The reading end of its standard error.
    type Stderr: AsyncRead + Unpin + Send + 'static;

    /// Starts a process with its pipes attached. After an error nothing runs. The exec of its program may still fail
    /// later, see [`Exec`]. `context` is the trace context in its environment.
    fn spawn(&self, launch: Launch, context: Option<&TraceContext>) -> Result<Running<Self>, StartError>;

    /// Closes the child's ends of these pipes in this process, since the process has exited.
    fn release_child_ends(_stdout: Option<&mut Self::Stdout>, _stderr: Option<&mut Self::Stderr>) {}

    /// The processes that wrote to these pipes have been killed: the next read looks at the pipes themselves.
    fn writers_killed(_stdout: Option<&mut Self::Stdout>, _stderr: Option<&mut Self::Stderr>) {}
}

/// A process that was created. Its exec may still be pending.
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
    /// Its terminal, if it has one.
    pub terminal: Option<Arc<Terminal>>,
}

/// The state of a process's exec. There is no notification of a change, but a process whose exec fails exits, and one
/// that writes has executed.
pub trait Exec: fmt::Debug + Send + Sync {
    /// As it is now.
    fn state(&self) -> ExecState;
}

/// See [`Exec`].
#[derive(Debug)]
pub enum ExecState {
    /// It has not called exec yet.
    Pending,
    /// It has executed its program, at this time; `None` if it was killed before.
    Executed(Option<Instant>),
    /// The exec failed, and nothing ran.
    Failed(StartError),
}

/// The exec of a process that executed before its creation returned.
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

    /// Sends SIGTERM to the descendants that have left the group.
    fn terminate_descendants(&mut self) {}

    /// Kills what is left of the group and of all descendants at `at`, if anything is left then. The first call counts.
    fn kill_descendants(&mut self, _at: Instant) {}

    /// Ready when that is done, with the number of descendants that were seen and could not be killed; at once if it
    /// was not requested. The leader must not be reaped before.
    fn poll_killed(&mut self, _cx: &mut Context<'_>) -> Poll<u32> {
        Poll::Ready(0)
    }

    /// Whether the kernel has killed a process of the tree because memory was used up; false if it does not say. The
    /// leader must not be reaped before.
    fn is_out_of_memory(&self) -> bool {
        false
    }

    /// Forgets the leader, which has exited. Its group is never signalled again.
    fn reap(&mut self);
}

/// The operating system. Clones share one spawner.
#[derive(Debug, Clone)]
pub struct System(Arc<Spawner>);

impl System {
    /// Children inherit the current environment, and nothing of [`InheritedState`]. A probe selects the method that
    /// creates them.
    pub(crate) fn auto() -> Self {
        let inherited = InheritedState::capture(None);
        let children = Selected::auto(inherited);
        Self(Arc::new(Spawner::new(children, inherited, None, None)))
    }

    /// With `settings`. Must be called in a tokio runtime if orphans are to be reaped.
    ///
    /// # Errors
    /// [`Settings::spawn`] does not work here.
    pub(crate) fn with(settings: &Settings) -> Result<Self, CloneUnavailable> {
        let inherited = InheritedState::capture(settings.open_files);
        let children = settings.spawn.select(inherited)?;
        let own_children = settings.reap_orphans.then(OwnChildren::default);
        // Without a handler for SIGCHLD nobody reaps them.
        let own_children = own_children.filter(|own| own.reap_others(child_zombies).is_ok());
        let cgroups = settings.cgroups.clone();
        let spawner = Spawner::new(children, inherited, cgroups, own_children);
        Ok(Self(Arc::new(spawner)))
    }

    /// How children are created.
    pub(crate) fn children(&self) -> &Selected {
        self.0.children()
    }
}

impl Backend for System {
    type Group = Tree;
    type Stdin = ChildInput;
    type Stdout = ChildOutput;
    type Stderr = ChildOutput;

    fn spawn(&self, launch: Launch, context: Option<&TraceContext>) -> Result<Running<Self>, StartError> {
        let Spawned {
            tree,
            execution,
            stdin,
            stdout,
            stderr,
            terminal,
        } = self.0.spawn(launch, context)?;
        Ok(Running {
            exec: Arc::new(execution),
            group: tree,
            stdin,
            stdout,
            stderr,
            terminal,
        })
    }

    fn release_child_ends(stdout: Option<&mut Self::Stdout>, stderr: Option<&mut Self::Stderr>) {
        let outputs = stdout.into_iter().chain(stderr);
        outputs.for_each(ChildOutput::release_child_end);
    }

    fn writers_killed(stdout: Option<&mut Self::Stdout>, stderr: Option<&mut Self::Stderr>) {
        let outputs = stdout.into_iter().chain(stderr);
        outputs.for_each(ChildOutput::read_directly);
    }
}
