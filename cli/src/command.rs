//! The subcommands, one file each.

pub(crate) mod analyze;
pub(crate) mod attach;
pub(crate) mod compare;
mod connection;
pub(crate) mod cp;
mod departure;
mod detached;
pub(crate) mod exec;
pub(crate) mod exec_server;
mod execution;
pub(crate) mod flush;
pub(crate) mod gate;
pub(crate) mod health;
pub(crate) mod history;
mod history_input;
pub(crate) mod host;
mod interrupt;
pub(crate) mod keygen;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod ps;
pub(crate) mod relay;
mod repeated;
pub(crate) mod run;
mod runs;
pub(crate) mod show;
pub(crate) mod ssh;
pub(crate) mod thread;
pub(crate) mod threads;
pub(crate) mod ticket;
pub(crate) mod trace;
pub(crate) mod wait;
pub(crate) mod warm;

use std::cell::Cell;
use std::io::{self, IsTerminal as _};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use baton_core_client::{
    Client, Command, Event, ExitStatus, ProcessId, RecordTo, Run, RunError, Stdin, WindowSize,
};
use baton_trace::outcome::{Outcome, OutcomeKind};
use baton_trace::record::CallRecord;
use baton_trace::text::counted;
use baton_trace::w3c::TraceContext;
use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use self::connection::Connection;
use self::departure::Departure;
use self::interrupt::Interruption;
use crate::args::{self, TraceCommand, WaterfallDetail};
use crate::error::CliError;
use crate::event_json::{EventDetails, JsonLines};
use crate::event_output::{EventForm, EventOutput};
use crate::keyboard::Keyboard;
use crate::limits::{ESCAPES_QUEUE, OUTPUT_GRACE};
use crate::raw_terminal::RawTerminal;
use crate::signals::StopSignals;
use crate::stdio::forward;
use crate::trace_outputs::TraceOutputs;
use crate::{terminal, window};

/// Runs the subcommand, and returns the exit code.
pub(crate) fn main(command: args::Command) -> Result<i32, CliError> {
    use args::Command;
    match command {
        Command::Run(args) => run::main(args),
        Command::Exec(args) => exec::main(*args),
        Command::Ssh(args) => ssh::main(args),
        Command::Cp(args) => cp::main(args),
        Command::Relay(args) => relay::main(args),
        Command::ExecServer(args) => exec_server::main(args),
        Command::Attach(args) => attach::main(args),
        Command::Logs(args) => logs::main(args),
        Command::Wait(args) => wait::main(args),
        Command::Ps(args) => ps::main(args),
        Command::Kill(args) => kill::main(args),
        Command::History(args) => history::main(args),
        Command::Host(command) => host::main(command),
        Command::Show(args) => show::main(args),
        Command::Threads(args) => threads::main(args),
        Command::Thread(command) => thread::main(command),
        Command::Flush(args) => flush::main(args),
        Command::Warm(args) => warm::main(args),
        Command::Keygen(args) => keygen::main(args),
        Command::Compare(args) => compare::main(args),
        Command::Gate(args) => gate::main(args),
        Command::Health(args) => health::main(args),
        Command::Ticket(command) => ticket::main(command),
        Command::Analyze(args) => analyze::main(args),
        Command::Trace(TraceCommand::Show(args)) => trace::show::main(args),
        Command::Trace(TraceCommand::Check(args)) => trace::check::main(args),
        Command::Trace(TraceCommand::Compact(args)) => trace::compact::main(args),
    }
}

/// How long a command may run on.
struct Graces {
    /// After its connection is lost.
    session: Duration,
    /// After this process is asked to stop, or its timeout.
    kill: Duration,
}

/// How a command uses this process's standard streams.
#[derive(Debug, Clone, Copy)]
struct Streams {
    /// The command has a terminal.
    terminal: Option<TerminalUse>,
    /// Its standard input is this process's; otherwise empty.
    input: bool,
    /// Bytes of this process's standard input that the command has got before.
    input_before: u64,
    form: EventForm,
}

impl Streams {
    /// Without a terminal.
    const PIPES: Self = Self {
        terminal: None,
        input: true,
        input_before: 0,
        form: EventForm {
            json: false,
            max_output: None,
        },
    };
}

/// A command's terminal, beside this process's.
#[derive(Debug, Clone, Copy)]
struct TerminalUse {
    /// The size that it has; `None` if that is not known.
    size: Option<WindowSize>,
    escapes: bool,
}

/// How the use of a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With the command, and this exit code.
    Exited(i32),
    /// The command runs on. The session must not be closed: that would kill it.
    Detached,
    /// As [`Detached`](Self::Detached), because this process's terminal is gone.
    HungUp,
}

impl Ending {
    fn exit_code(self) -> Result<i32, CliError> {
        match self {
            Self::Exited(code) => Ok(code),
            Self::Detached => Ok(0),
            Self::HungUp => Err(CliError::Interrupted {
                signal: SignalKind::hangup().as_raw_value(),
            }),
        }
    }
}

/// Closes the session of a client whose command was not detached from.
async fn close(client: &Client, outcome: &Result<Ending, CliError>) {
    if !matches!(outcome, Ok(Ending::Detached | Ending::HungUp)) {
        client.close().await;
    }
}

/// Runs one command with this process's standard streams.
async fn run_attached(
    client: &Client,
    connection: Arc<Connection>,
    command: Command,
    graces: Graces,
    streams: Streams,
    record_to: Option<RecordTo>,
) -> Result<Ending, CliError> {
    let grace = graces.session;
    let mut command = command.grace(grace).kill_grace(graces.kill);
    if !grace.is_zero() {
        command = command.on_recovery(connection.notices());
    }
    let outputs = EventOutput::open(streams.form, JsonLines::default())?.of_call(record_to);
    // The environment contains the caller's trace context. Malformed variables start a new trace.
    let command = command.parent(TraceContext::from_environment(|name| std::env::var_os(name)));
    let mut stop = StopSignals::new();
    let is_repeatable = command.has_id();
    let starting = async {
        let (mut run, stdin) = client.start(command).await?;
        // Before standard input is read: another call may need it.
        let first = match is_repeatable {
            true => run.next().await?,
            false => None,
        };
        Ok((run, stdin, first))
    };
    let (run, stdin, first) = tokio::select! {
        started = starting => started
            .map_err(|error: RunError| CliError::from(error).with_grace(grace).of_command(false))?,
        signal = stop.next() => return Err(CliError::Interrupted { signal }),
    };
    let mut following = Following {
        run,
        stdin,
        first,
        outputs,
        stop,
        connection,
        graces,
        streams,
    };
    following.outputs.of_process(following.run.id());
    match following.first {
        Some(Event::Repeated { attachable, attached }) => {
            repeated::follow_first(client, following, attachable, attached).await
        }
        _ => follow(following).await,
    }
}

/// A command and what it is connected to.
struct Following {
    run: Run,
    stdin: Stdin,
    /// Its first event, if that was read.
    first: Option<Event>,
    outputs: EventOutput,
    stop: StopSignals,
    connection: Arc<Connection>,
    graces: Graces,
    streams: Streams,
}

/// Connects a command to this process's standard streams until its end, or until its user leaves it.
async fn follow(following: Following) -> Result<Ending, CliError> {
    let Following {
        mut run,
        stdin,
        first,
        mut outputs,
        mut stop,
        connection,
        graces,
        streams,
    } = following;
    let connection = &connection;
    let (interruption, signaller) = (Interruption::default(), run.signaller());
    let is_raw = streams.terminal.is_some() && streams.input && io::stdin().is_terminal();
    // Restores the terminal at each return.
    let _raw = match is_raw {
        true => Some(RawTerminal::enter().map_err(CliError::Terminal)?),
        false => None,
    };
    let resizing = streams
        .terminal
        .map(|terminal| tokio::spawn(window::follow(run.resizer(), terminal.size)));
    let (requests, mut escapes) = mpsc::channel(ESCAPES_QUEUE);
    let keyboard = streams.terminal.filter(|terminal| is_raw && terminal.escapes);
    let keyboard = keyboard.map(|_| Keyboard::new(requests, connection.loss()));
    let (cut, input_failed) = oneshot::channel();
    let forwarding = match streams.input {
        true => Some(tokio::spawn(forward(stdin, streams.input_before, cut, keyboard))),
        false => {
            // Fails if the command has ended.
            let _ = stdin.close().await;
            None
        }
    };
    let (process, granted) = (run.process_id(), Cell::new(run.grace()));
    let ended = tokio::select! {
        ended = forward_output(&mut run, first, &mut outputs, &granted) => ended,
        // The command must not take incomplete input for complete: returning drops the run, which kills the command.
        Ok(error) = input_failed => Err(error),
        signal = interruption.pass_on(&mut stop, &signaller, graces.kill, || connection.left(graces.session).is_some()) => {
            let _ = timeout(OUTPUT_GRACE, outputs.finish()).await;
            let is_hang_up = signal == SignalKind::hangup().as_raw_value();
            if let Some(process) = process.filter(|_| is_hang_up && !granted.get().is_zero()) {
                // A closed window is a lost connection: nobody has asked for the command's end.
                return Ok(detach(run, process, Ending::HungUp));
            }
            departure::tell_of_lost(connection, &run);
            return Err(CliError::Interrupted { signal });
        }
        departure = departure::asked(&mut escapes, process, &granted) => {
            let _ = timeout(OUTPUT_GRACE, outputs.finish()).await;
            match departure {
                Departure::Detach(process) => return Ok(detach(run, process, Ending::Detached)),
                Departure::HangUp(process) => return Ok(detach(run, process, Ending::HungUp)),
                Departure::Leave | Departure::Interrupt => {}
            }
            return Err(departure::leave(departure, connection, &run, &signaller).await);
        }
    };
    if let (Err(error), Some(process)) = (&ended, process.filter(|_| is_raw && !granted.get().is_zero()))
        && departure::is_hang_up(error)
    {
        return Ok(detach(run, process, Ending::HungUp));
    }
    // Output that precedes a failure is written before the error.
    let written = tokio::select! {
        written = outputs.finish() => written,
        signal = stop.next() => return Err(CliError::Interrupted { signal }),
    };
    for task in forwarding.into_iter().chain(resizing) {
        task.abort();
    }
    let is_started = run.last_seq() > 0;
    let ended = ended.map_err(|error| error.with_grace(run.grace()).of_command(is_started))?;
    let CommandExit {
        status,
        truncated,
        survivors,
    } = ended;
    written?;
    if survivors > 0 {
        stderr_line!("baton: {}", survivors_line(survivors));
    }
    if let (Some(signal), ExitStatus::Signal { .. }) = (interruption.signal(), status) {
        return Err(CliError::Interrupted { signal }.with_outcome(run.outcome()));
    }
    if let Some(outcome) = run
        .outcome()
        .filter(|outcome| is_cut_short(*outcome, &interruption))
    {
        stderr_line!("baton: the command was ended: {outcome} ({})", outcome.words());
    }
    if truncated {
        stderr_line!(
            "baton: a background process still holds the command's output; its further output is not shown"
        );
    }
    Ok(Ending::Exited(status.shell_code()))
}

/// Whether something else than the command and this process has ended the command.
fn is_cut_short(outcome: Outcome, interruption: &Interruption) -> bool {
    interruption.signal().is_none()
        && matches!(
            outcome.kind(),
            OutcomeKind::TimedOut | OutcomeKind::OutOfMemory | OutcomeKind::Killed
        )
}

/// Leaves a command that runs on, and says so.
fn detach(run: Run, process: ProcessId, ending: Ending) -> Ending {
    departure::tell_of_detached(process, run.grace());
    // Dropping it would kill the command. The task that forwards input keeps the command's input open.
    let _run = ManuallyDrop::new(run);
    ending
}

/// Writes and draws the stages of a command. Every call has a record, however it ended.
fn show_trace(record: Option<&CallRecord>, traces: TraceOutputs, drawing: Option<WaterfallDetail>) {
    let Some(record) = record else { return };
    traces.write(record);
    if let Some(drawing) = drawing {
        terminal::draw_on_stderr(record, drawing);
    }
}

/// How a command ended.
struct CommandExit {
    status: ExitStatus,
    /// A background process still holds its output.
    truncated: bool,
    /// Descendants that could not be killed.
    survivors: u32,
}

/// What a person has to know about descendants that could not be killed.
fn survivors_line(survivors: u32) -> String {
    format!(
        "{} of the command could not be killed and may still run: the exec-server has no permission, or the kernel did \
         not end {} in time; look at the exec-server's machine",
        counted(survivors.into(), "process", "processes"),
        if survivors == 1 { "it" } else { "them" },
    )
}

/// Forwards the command's output until it is closed. Sets the grace that the exec-server has granted.
async fn forward_output(
    run: &mut Run,
    mut first: Option<Event>,
    outputs: &mut EventOutput,
    granted: &Cell<Duration>,
) -> Result<CommandExit, CliError> {
    let (mut exit, mut closed) = (None, (false, 0));
    loop {
        let event = match first.take() {
            Some(event) => Some(event),
            None => tokio::select! {
                event = run.next() => event?,
                // The reader may close the output while the command prints nothing.
                error = outputs.failed() => return Err(error),
            },
        };
        let Some(event) = event else { break };
        match event {
            Event::Started { .. } => granted.set(run.grace()),
            Event::Exited { status, .. } => exit = Some(status),
            Event::Closed { truncated, survivors } => closed = (truncated, survivors),
            Event::Stdout(_) | Event::Stderr(_) | Event::Gap { .. } | Event::Repeated { .. } => {}
        }
        let details = EventDetails {
            seq: run.last_seq(),
            outcome: run.outcome(),
            bytes: run.output_bytes(),
        };
        outputs.event(event, details).await?;
    }
    Ok(CommandExit {
        status: exit.ok_or(RunError::Protocol("closed before it exited"))?,
        truncated: closed.0,
        survivors: closed.1,
    })
}
