//! The agent: its loop, and what the loop uses. A comment names the span that begins in a line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_core_client::warm::{WarmInterval, Warmer};
use baton_core_client::{Client, Command, ExitStatus, Workspace};
use baton_turn::prefix::{CacheHits, Declaration, PrefixGuard, Section, Stability};
use baton_turn::{Step, StepOptions, Thread, ToolCall, TurnTimings};
use futures_util::future::join_all;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::Result;
use crate::account;
use crate::model::{Answer, Chunk, Model, ToolRequest};

/// Model calls of one turn. Ends a loop whose model never answers.
const STEPS_MAX: usize = 8;

/// The session is warmed after four minutes without a call.
const WARM_INTERVAL: Duration = Duration::from_secs(240);

const SYSTEM: &str = "You work in a directory of a project. Use the tools.";
const TOOLS: [&str; 3] = ["list_files", "read_file", "count_lines"];

/// A directory that has one of these is the root of a project.
const MARKERS: [&str; 2] = [".git", "Cargo.toml"];

pub(crate) struct Agent {
    thread: Thread,
    model: Model,
    client: Client,
    warmer: Warmer,
    workspace: Workspace,
    directory: PathBuf,
    root: PathBuf,
    messages: Vec<String>,
    prefix: PrefixGuard,
    hits: CacheHits,
}

impl Agent {
    pub(crate) async fn new(
        model: &str,
        client: Client,
        provider: &SdkTracerProvider,
        directory: &Path,
    ) -> Result<Self> {
        // The first turn takes this root without a call.
        let workspace = client.workspace();
        workspace.find_at_startup(directory, MARKERS).await?;
        Ok(Self {
            thread: Thread::new("conversation-1")?
                .with_agent("example")
                .with_provider(provider),
            model: Model::connect(model).await?,
            warmer: Warmer::start(client.clone(), WarmInterval::try_from(WARM_INTERVAL)?),
            client,
            workspace,
            directory: directory.to_owned(),
            root: directory.to_owned(),
            messages: Vec::new(),
            prefix: PrefixGuard::new(Declaration::new([
                ("tools", Stability::Stable),
                ("system", Stability::Stable),
                ("message", Stability::Stable),
                ("directory", Stability::Volatile),
            ])?),
            hits: CacheHits::default(),
        })
    }

    pub(crate) fn warmer(&self) -> &Warmer {
        &self.warmer
    }

    /// One turn: calls the model until it answers without a tool.
    pub(crate) async fn answer(&mut self, question: &str) -> Result<(String, TurnTimings)> {
        let turn = self.thread.turn()?; // invoke_agent
        let _call = self.warmer.call();
        self.hits.begin_turn();
        let search = turn.with_context(self.workspace.project_root(&self.directory, MARKERS));
        if let Some(found) = search.await?.root {
            self.root = found.directory;
        }
        self.messages.push(question.to_owned());
        for _ in 0..STEPS_MAX {
            let step = turn.step_with(StepOptions::default().provider("example"))?; // chat
            let answer = self.ask(&step).await?;
            if answer.is_empty() {
                step.fail("empty_stream");
                continue;
            }
            let mut running = Vec::new();
            for tool in &answer.tools {
                let call = step.tool_call(&tool.name, &tool.id)?; // execute_tool
                running.push(self.run_tool(call, tool));
            }
            let results = join_all(running).await;
            step.end();
            if answer.tools.is_empty() {
                return Ok((answer.text, turn.end()));
            }
            self.messages.extend(results);
        }
        turn.fail("too_many_steps");
        Err("the model does not answer".into())
    }

    /// One call of the model.
    async fn ask(&mut self, step: &Step) -> Result<Answer> {
        step.set_prefix(&self.prefix.check(&sections(&self.messages, &self.root))?);
        let mut reply = self.model.ask(&self.messages).await?;
        let chunks = step.try_stream(reply.chunks(), Chunk::is_content); // ttft, decode
        let answer = Answer::read(chunks).await?;
        step.set_usage(answer.usage);
        self.hits.record(&answer.usage)?;
        if let Some(timing) = reply.timing().await? {
            step.record_request(&timing); // request, server.*
        }
        step.set_request_counters(&self.model.requests().counters());
        account::step(step, &answer)?;
        Ok(answer)
    }

    /// One tool, as a command on the other machine. Returns what the model is told.
    async fn run_tool(&self, call: ToolCall, tool: &ToolRequest) -> String {
        let command = Command::new(&tool.program)
            .args(&tool.arguments)
            .current_dir(&self.root)
            .thread(call.thread())
            .turn(call.turn_number())
            .step(call.step_id());
        let command = command.parent(call.remote_parent()); // tool.dispatch ends
        match self.client.run(command).await {
            Ok(output) if output.status == ExitStatus::Code(0) => {
                call.end();
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            Ok(output) => {
                call.fail("exit_status");
                String::from_utf8_lossy(&output.stderr).into_owned()
            }
            Err(error) => {
                call.fail("not_run");
                error.to_string()
            }
        }
    }

    /// How many of the input tokens the model's cache served.
    pub(crate) fn hits(&self) -> &CacheHits {
        &self.hits
    }

    /// Ends the connection to the model, and the session.
    pub(crate) async fn close(mut self) {
        self.model.close().await;
        self.client.close().await;
    }
}

/// What a request consists of, in its order. The directory is last, because it may differ from request to request.
fn sections<'a>(messages: &'a [String], directory: &'a Path) -> Vec<Section<'a>> {
    let mut sections = vec![Section::list("tools", TOOLS), Section::text("system", SYSTEM)];
    sections.extend(messages.iter().map(|message| Section::text("message", message)));
    sections.push(Section::text("directory", directory.to_string_lossy()));
    sections
}
