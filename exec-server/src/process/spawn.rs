//! Creates the child, its pipes attached before it can write.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use baton_spawn::{
    Child, Execution, ExecutionState, Image, InheritedState, Selected, Spawn as _, SpawnError, StdSpawner,
    User, UserFailure, UserSpawner,
};
use baton_trace::w3c::TraceContext;
use rustix::fs::{Access, FileType, Gid, OFlags, Uid, access, fchown, fcntl_setfl, stat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Winsize;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::backend::{Exec, ExecState};
use super::child_io::{ChildInput, ChildOutput};
use super::environment::Inherited;
use super::launch::Launch;
use super::leader::Leader;
use super::orphans::OwnChildren;
use super::pipe::{LargePipeSlots, Pipe};
use super::program::{self, Found, inspect};
use super::terminal::Terminal;
use super::tree::{Mark, Marks, Sweeper, Tree};
use crate::cgroup::{Cgroup, Cgroups};
use crate::error::StartError;
use crate::user::{Account, UserError};

/// A child that was created. Its exec may still be pending.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) tree: Tree,
    pub(super) execution: Execution,
    /// `None` when the child reads /dev/null.
    pub(super) stdin: Option<ChildInput>,
    pub(super) stdout: ChildOutput,
    pub(super) stderr: ChildOutput,
    pub(super) terminal: Option<Arc<Terminal>>,
}

impl Exec for Execution {
    fn state(&self) -> ExecState {
        match self.state() {
            ExecutionState::Pending => ExecState::Pending,
            ExecutionState::Executed(at) => ExecState::Executed(at),
            ExecutionState::FailedAsUser(failure) => ExecState::Failed(explain_as_user(failure)),
            ExecutionState::Failed(errno) => {
                let explained = self.with_image(|image| explain(errno, image));
                ExecState::Failed(explained.unwrap_or_else(|| StartError::SpawnFailed(errno.into())))
            }
        }
    }
}

/// Creates children from what they share.
#[derive(Debug)]
pub(super) struct Spawner {
    inherited: Inherited,
    /// Opened at the first child that reads it.
    null: OnceLock<OwnedFd>,
    children: Selected,
    /// Creates children with a terminal, and waits for their exec: until then they are in no session and no process
    /// group of their own, so a signal would be lost.
    terminals: StdSpawner,
    /// Creates children that become another user.
    users: UserSpawner,
    large_pipes: LargePipeSlots,
    marks: Marks,
    sweeper: Sweeper,
    /// `None`: children are created in this process's cgroup.
    cgroups: Option<Cgroups>,
    /// `None`: this process does not reap other children than its own.
    own_children: Option<OwnChildren>,
}

impl Spawner {
    /// Children inherit the current environment, and undo `inherited`.
    pub(super) fn new(
        children: Selected,
        inherited: InheritedState,
        cgroups: Option<Cgroups>,
        own_children: Option<OwnChildren>,
    ) -> Self {
        Self {
            inherited: Inherited::capture(),
            null: OnceLock::new(),
            children,
            terminals: StdSpawner::new(inherited),
            users: UserSpawner::new(inherited),
            large_pipes: LargePipeSlots::new(),
            marks: Marks::new(),
            sweeper: Sweeper::default(),
            cgroups,
            own_children,
        }
    }

    /// Creates a child, and does not wait for its exec. After an error nothing runs. Must be called in a tokio runtime.
    pub(super) fn spawn(
        &self,
        mut launch: Launch,
        context: Option<&TraceContext>,
    ) -> Result<Spawned, StartError> {
        let account = launch.take_account()?;
        let process = launch.process_id;
        let Launch {
            argv,
            cwd,
            environment,
            program,
            stdin,
            terminal,
            ..
        } = launch;
        let mark = self.marks.next();
        let environment = self
            .inherited
            .child(environment, context, account.as_deref(), &mark);
        let account = account.as_deref().filter(|account| account.is_become);
        let directory = cwd.as_deref().map(path_of);
        // With this process's rights another user would learn which directories there are.
        if account.is_none() && cwd.as_deref().is_some_and(|directory| !is_directory(directory)) {
            return Err(StartError::BadCwd);
        }
        let search = environment.value("PATH").map(OsStr::from_bytes);
        let name = argv
            .first()
            .map_or(OsStr::new(""), |name| OsStr::from_bytes(name.to_bytes()));
        let (program, alternatives) = match (program, account) {
            (Some(program), _) => (program, Vec::new()),
            (None, Some(_)) => program::candidates(name, search)?,
            (None, None) => {
                let program = program::resolve(name, directory, search)?;
                let program = CString::new(program.into_os_string().into_vec());
                (program.map_err(|_| StartError::CommandNotFound)?, Vec::new())
            }
        };
        let user = account.map(|account| user_of(account, alternatives));
        // Removed if nothing is started.
        let cgroup = self.cgroups.as_ref().map(|cgroups| cgroups.create(process));
        let cgroup = cgroup.transpose().map_err(no_cgroup)?;
        let directory_of_cgroup = cgroup.as_ref().map(Cgroup::directory).transpose();
        let image = Image {
            program,
            arguments: argv,
            environment,
            cwd,
            terminal: terminal.is_some(),
            cgroup: directory_of_cgroup.map_err(no_cgroup)?,
        };
        if let Some(size) = terminal {
            return self.spawn_in_terminal(image, user, size, mark, cgroup);
        }

        // The pipes are registered with the runtime before the child is created, so that only the leader can fail
        // afterwards.
        let stdin = stdin.then(|| self.input()).transpose();
        let stdin = stdin.map_err(StartError::SpawnFailed)?;
        let (stdout, childs_stdout) = self.output().map_err(StartError::SpawnFailed)?;
        let (stderr, childs_stderr) = self.output().map_err(StartError::SpawnFailed)?;
        let childs_stdin = match &stdin {
            Some((_, theirs)) => theirs.as_fd(),
            None => self.null().map_err(StartError::SpawnFailed)?,
        };
        let stdio = [childs_stdin, childs_stdout.as_fd(), childs_stderr.as_fd()];
        let creating = self.own_children.as_ref().map(OwnChildren::creating);
        let child = match user {
            None => self.children.spawner.spawn(image, stdio).map_err(refusal),
            Some(user) => {
                let pipes = stdin.iter().map(|(_, theirs)| theirs);
                for pipe in pipes.chain([&childs_stdout, &childs_stderr]) {
                    hand_over(pipe, &user);
                }
                self.users.spawn(image, user, stdio).map_err(refusal_as_user)
            }
        };
        let Child {
            pid,
            pidfd,
            execution,
        } = child?;
        // From here on the leader kills the child if anything fails.
        let own = creating.map(|creating| creating.created(pid));
        let leader = Leader::new(pid, pidfd, own).map_err(StartError::SpawnFailed)?;
        Ok(Spawned {
            tree: self.tree(leader, mark, cgroup),
            execution,
            stdin: stdin.map(|(own, _)| ChildInput::Pipe(own)),
            stdout: ChildOutput::Pipe(stdout.holding_child_end(childs_stdout)),
            stderr: ChildOutput::Pipe(stderr.holding_child_end(childs_stderr)),
            terminal: None,
        })
    }

    fn spawn_in_terminal(
        &self,
        image: Image,
        user: Option<User>,
        size: Winsize,
        mark: Mark,
        cgroup: Option<Cgroup>,
    ) -> Result<Spawned, StartError> {
        let (terminal, childs) = Terminal::open(size).map_err(StartError::SpawnFailed)?;
        let childs = beyond_stdio(childs).map_err(StartError::SpawnFailed)?;
        let stdio = [childs.as_fd(); 3];
        let creating = self.own_children.as_ref().map(OwnChildren::creating);
        let child = match user {
            None => self.terminals.spawn(image, stdio).map_err(refusal),
            Some(user) => {
                hand_over(&childs, &user);
                self.users.spawn(image, user, stdio).map_err(refusal_as_user)
            }
        };
        let Child {
            pid,
            pidfd,
            execution,
        } = child?;
        let own = creating.map(|creating| creating.created(pid));
        let leader = Leader::new(pid, pidfd, own).map_err(StartError::SpawnFailed)?;
        let (input, output) = terminal.ends();
        Ok(Spawned {
            tree: self.tree(leader, mark, cgroup),
            execution,
            stdin: Some(ChildInput::Terminal(input)),
            stdout: ChildOutput::Terminal(output),
            stderr: ChildOutput::Nothing,
            terminal: Some(terminal),
        })
    }

    fn tree(&self, leader: Leader, mark: Mark, cgroup: Option<Cgroup>) -> Tree {
        Tree::new(leader, mark, cgroup, self.sweeper.clone())
    }

    pub(super) fn children(&self) -> &Selected {
        &self.children
    }

    /// This process's end of a pipe that a child reads, and the child's end.
    fn input(&self) -> io::Result<(Pipe<Sender>, OwnedFd)> {
        let (own, theirs) = child_reads()?;
        let end = Sender::from_owned_fd_unchecked(own)?;
        Ok((Pipe::new(end, self.large_pipes.clone()), theirs))
    }

    /// This process's end of a pipe that a child writes, and the child's end.
    fn output(&self) -> io::Result<(Pipe<Receiver>, OwnedFd)> {
        let (own, theirs) = child_writes()?;
        let end = Receiver::from_owned_fd_unchecked(own)?;
        Ok((Pipe::new(end, self.large_pipes.clone()), theirs))
    }

    fn null(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(null) = self.null.get() {
            return Ok(null.as_fd());
        }
        let null = beyond_stdio(File::open("/dev/null")?.into())?;
        Ok(self.null.get_or_init(|| null).as_fd())
    }
}

/// A pipe that the child writes: this process's end, then the child's.
fn child_writes() -> io::Result<(OwnedFd, OwnedFd)> {
    let (own, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let theirs = beyond_stdio(theirs)?;
    fcntl_setfl(&own, OFlags::NONBLOCK)?;
    Ok((own, theirs))
}

/// A pipe that the child reads: this process's end, then the child's.
fn child_reads() -> io::Result<(OwnedFd, OwnedFd)> {
    let (theirs, own) = pipe_with(PipeFlags::CLOEXEC)?;
    let theirs = beyond_stdio(theirs)?;
    fcntl_setfl(&own, OFlags::NONBLOCK)?;
    Ok((own, theirs))
}

/// A descriptor above 2. Descriptors 0 to 2 are replaced in the child; a server without stdio would get these numbers
/// for its pipes.
fn beyond_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    match fd.as_raw_fd() {
        0..=2 => Ok(fcntl_dupfd_cloexec(fd, 3)?),
        _ => Ok(fd),
    }
}

/// The user as the child becomes it.
fn user_of(account: &Account, alternatives: Vec<CString>) -> User {
    User {
        uid: account.uid,
        gid: account.gid,
        groups: account.groups.clone(),
        home: account.home.clone(),
        alternatives,
    }
}

/// Makes the user the owner of its pipe or terminal, so that it can open it by its path: as `/dev/stderr`, or as the
/// terminal that `tty` prints. A terminal keeps its group, whose members may write messages to it.
fn hand_over(stream: &OwnedFd, user: &User) {
    let group = match rustix::termios::isatty(stream) {
        true => None,
        false => Some(Gid::from_raw(user.gid)),
    };
    // Without the right to change owners the command has its descriptors still.
    let _ = fchown(stream, Some(Uid::from_raw(user.uid)), group);
}

fn path_of(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

fn no_cgroup(error: io::Error) -> StartError {
    let told = format!("its cgroup could not be created: {error}");
    StartError::SpawnFailed(io::Error::new(error.kind(), told))
}

fn refusal(error: SpawnError) -> StartError {
    match error {
        SpawnError::NotCreated(error) => StartError::SpawnFailed(error),
        SpawnError::NotExecuted { errno, image } => explain(errno, &image),
    }
}

/// Of a child that becomes another user.
fn refusal_as_user(error: SpawnError) -> StartError {
    match error {
        SpawnError::NotCreated(error) => StartError::SpawnFailed(error),
        SpawnError::NotExecuted { errno, .. } => StartError::SpawnFailed(errno.into()),
    }
}

/// The child has looked with its user's rights, and nothing is looked at here with this process's.
fn explain_as_user(failure: UserFailure) -> StartError {
    match failure {
        UserFailure::Identity(errno @ (Errno::AGAIN | Errno::NOMEM)) => StartError::SpawnFailed(errno.into()),
        UserFailure::Identity(errno) => UserError::Refused(errno.into()).into(),
        UserFailure::Directory(_) => StartError::BadCwd,
        UserFailure::Missing => StartError::CommandNotFound,
        UserFailure::Program(errno) => not_executable(errno),
    }
}

/// A program that is there is not executed.
fn not_executable(errno: Errno) -> StartError {
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::NOEXEC | Errno::ISDIR | Errno::LIBBAD => {
            StartError::NotExecutable
        }
        errno => StartError::SpawnFailed(errno.into()),
    }
}

/// One error of the operating system can have several causes. The likeliest one is determined after the failure, so
/// that a start that succeeds has no cost.
fn explain(errno: Errno, image: &Image) -> StartError {
    let cwd = image.cwd.as_deref();
    if cwd.is_some_and(|cwd| !is_directory(cwd) || access(cwd, Access::EXEC_OK).is_err()) {
        return StartError::BadCwd;
    }
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG => {
            match inspect(path_of(&image.program)) {
                Found::Nothing => StartError::CommandNotFound,
                // The file exists: the interpreter that it names does not.
                Found::Executable | Found::NotExecutable => StartError::NotExecutable,
            }
        }
        errno => not_executable(errno),
    }
}

pub(super) fn is_directory(path: &CStr) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
