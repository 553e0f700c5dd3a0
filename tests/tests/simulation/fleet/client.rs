//! The program on a client's machine: it runs its commands, each until it has started once, and at the end dials every
//! exec-server.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use baton_channel::ticket::Ticket;
use baton_channel::{Channel, ChannelConfig};
use baton_core_client::{Client, Seed};
use baton_trace::recorder::Recorder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::plan::FleetPlan;
use crate::caller::{RunCaller, failed};
use crate::history::{Attempt, CallKind, CallResult, Event, History, Output, ReceivedEvent, RunId};
use crate::network;
use crate::plan::{Caller, RunPlan, Script};

/// The longest time for a dial and a command, when every exec-server is reachable.
const DIAL_AND_RUN: Duration = Duration::from_secs(3);

/// Pause between two starts of a command for which there was no session.
const PAUSE: Duration = Duration::from_millis(500);

/// Starts of a command. Together they outlast all faults.
const STARTS: u32 = 200;

/// A range of run ids for each client, above those of the plan.
const PROBES: u32 = 1_000_000;

pub(super) struct FleetClient {
    pub(super) client: usize,
    pub(super) plan: Arc<FleetPlan>,
    pub(super) history: History,
    /// Of the exec-servers, by number.
    pub(super) tickets: Vec<Ticket>,
    pub(super) seed: Rc<Seed>,
    pub(super) must_reach: watch::Receiver<bool>,
}

impl FleetClient {
    pub(super) async fn run(self: Rc<Self>) -> turmoil::Result {
        let channels = self
            .tickets
            .iter()
            .map(|ticket| self.channel(ticket))
            .collect::<Result<Vec<_>, _>>()?;
        let mut calls = JoinSet::new();
        for (run, plan) in self.plan.commands.runs_of(self.client) {
            let caller = RunCaller {
                run,
                plan: plan.clone(),
                seed: self.plan.commands.seed,
                history: self.history.clone(),
                channel: channels[self.plan.server_of(run)].clone(),
            };
            calls.spawn(async move {
                sleep(caller.plan.at).await;
                for number in 0..STARTS {
                    let end = caller.call_library(number).await;
                    if !matches!(end, Some(CallResult::Unreached(_))) {
                        break;
                    }
                    sleep(PAUSE).await;
                }
            });
        }
        let mut must_reach = self.must_reach.clone();
        must_reach.wait_for(|must| *must).await?;
        for (server, ticket) in self.tickets.iter().enumerate() {
            let caller = self.probe(server, self.channel(ticket)?);
            let history = self.history.clone();
            let client = self.client;
            calls.spawn(async move {
                let found = caller.dial().await;
                history.add(Event::Dialled {
                    client,
                    server,
                    found,
                });
            });
        }
        while let Some(call) = calls.join_next().await {
            call?;
        }
        let (client, ran) = (self.client, true);
        self.history.add(Event::Recovered { client, ran });
        // The machine stays up after the program has ended.
        std::future::pending().await
    }

    fn channel(&self, ticket: &Ticket) -> Result<Channel, Box<dyn std::error::Error>> {
        let config = ChannelConfig {
            recorder: Recorder::to(Arc::new(self.history.clone())),
            network: Some(network::network()),
            ..ChannelConfig::default()
        };
        Ok(Channel::with_config(
            ticket.clone(),
            self.seed.client_key()?,
            config,
        ))
    }

    fn probe(&self, server: usize, channel: Channel) -> RunCaller {
        RunCaller {
            run: RunId(PROBES * (self.client as u32 + 1) + server as u32),
            plan: RunPlan {
                client: self.client,
                at: Duration::ZERO,
                caller: Caller::Detached,
                reader_pause: Duration::ZERO,
                script: Script::probe(),
                drops_output: false,
                companions: Vec::new(),
            },
            seed: self.plan.commands.seed,
            history: self.history.clone(),
            channel,
        }
    }
}

impl RunCaller {
    /// Dials and runs a command. Returns whether that succeeded in time.
    async fn dial(&self) -> bool {
        let attempt = Attempt {
            run: self.run,
            number: 0,
        };
        let kind = CallKind::Run {
            stdin: None,
            recovers: true,
            drops_output: false,
            // The default.
            grace: Duration::from_secs(60),
        };
        let command = self.command(self.begin(attempt, kind));
        let call = async {
            let output = Client::over(self.channel.clone())
                .run(command)
                .await
                .map_err(failed)?;
            self.add(attempt, 0, ReceivedEvent::Started);
            self.add(
                attempt,
                0,
                ReceivedEvent::Output(Output::Stdout, output.stdout.into()),
            );
            self.add(attempt, 0, ReceivedEvent::Exited(output.status));
            let truncated = output.truncated;
            self.add(attempt, 0, ReceivedEvent::Closed { truncated });
            Ok(())
        };
        self.end_within(attempt, Some(DIAL_AND_RUN), call).await == CallResult::Complete
    }
}
