//! A coding agent, reduced to its loop, with everything that it does in one trace a turn.
//!
//! ```text
//! main ──► Model ══ WebSocket on loopback ══► a model that answers by a script (script.rs)
//!   ├────► Client ══ relay ══► exec-server ──► tools (backend.rs)
//!   └────► Telemetry: turns and calls ──► --trace-json FILE, and the collector of OTEL_EXPORTER_OTLP_ENDPOINT
//! ```
//!
//! The loop is in `agent.rs`, and `docs/guide/agent.md` quotes it. Everything else is setup: a model that answers by a
//! script, so that every run is the same, and a relay and an exec-server embedded in this process.

mod account;
mod agent;
mod backend;
mod model;
mod options;
mod project;
mod script;
mod telemetry;

use std::error::Error;
use std::process::ExitCode;

use agent::Agent;
use backend::Backend;
use options::{Options, USAGE};
use project::Project;
use telemetry::Telemetry;

/// The number of the signal.
const SIGPIPE: u8 = 13;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            return exit_code(account::print(format_args!("{USAGE}")));
        }
        Err(error) => {
            eprintln!("agent: {error}; `--help` lists the options");
            return ExitCode::from(2);
        }
    };
    exit_code(run(&options))
}

fn exit_code(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // As if the signal SIGPIPE had ended it, which shells and `baton` report so.
        Err(error) if error.is::<account::ReaderGone>() => ExitCode::from(128 + SIGPIPE),
        Err(error) => {
            eprintln!("agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    // First, so that a wrong path is reported before anything runs.
    let file = options.create_trace_file()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let telemetry = Telemetry::start(runtime.handle())?;
    let project = Project::create()?;
    let backend = Backend::start(telemetry.server_recorder())?;
    let outcome = runtime.block_on(converse(&backend, &project, &telemetry));
    backend.stop();
    let spans = telemetry.finish(file)?;
    outcome?;
    match &options.trace_json {
        Some(path) => account::print(format_args!("{spans} spans are in {}\n", path.display())),
        None => Ok(()),
    }
}

/// The conversation: a turn, a warm while the user reads the answer, and another turn.
async fn converse(backend: &Backend, project: &Project, telemetry: &Telemetry) -> Result<()> {
    let client = backend.client(telemetry.client_recorder())?;
    let model = script::serve().await?;
    let mut agent = Agent::new(&model, client, telemetry.provider(), project.directory()).await?;

    let question = "Which files are here, and what do the notes say?";
    account::question(1, question)?;
    let (answer, timings) = agent.answer(question).await?;
    account::answer(&answer, &timings, agent.hits())?;

    account::warm(&agent.warmer().warm_now().await?)?;

    let question = "How long is the project's changelog?";
    account::question(2, question)?;
    let (answer, timings) = agent.answer(question).await?;
    account::answer(&answer, &timings, agent.hits())?;

    agent.close().await;
    Ok(())
}
