//! Many sessions in one process: idle, or each with an endless stream.

use std::path::Path;

use baton_bench::{Failure, worker};
use baton_core_client::{Client, Command, Event, Run, Seed, Ticket};

use super::program::producer;
use super::{runtime, word};

/// Answers:
///
/// | request | answer |
/// |---|---|
/// | `open SESSIONS` | opens that many sessions with each ticket; the number of all sessions |
/// | `stream` | starts an endless stream in each session and reads a little of it; the number of streams |
/// | `sip` | reads a little more of each stream, which checks that it is open; the number of streams |
pub(super) fn main(key: &str, tickets: &[&str]) -> Result<(), Failure> {
    let key = Seed::read(Path::new(key))?;
    let tickets: Vec<Ticket> = tickets
        .iter()
        .map(|ticket| ticket.parse())
        .collect::<Result<_, _>>()?;
    let mut sessions: Vec<Client> = Vec::new();
    let mut streams: Vec<Run> = Vec::new();
    runtime()?.block_on(worker::answer("ready", async |request| {
        let words = &mut request.split_whitespace();
        let task: String = word(words)?;
        match &task[..] {
            "open" => {
                let each: usize = word(words)?;
                for ticket in tickets
                    .iter()
                    .flat_map(|ticket| std::iter::repeat_n(ticket, each))
                {
                    let session = Client::new(ticket.clone(), key.client_key()?);
                    session.connect().await?;
                    sessions.push(session);
                }
                Ok(vec![sessions.len() as f64])
            }
            "stream" => {
                let argv = producer(u64::MAX, None)?;
                for session in &sessions {
                    let command = Command::new(&argv[0]).args(&argv[1..]);
                    let (mut run, stdin) = session.start(command).await?;
                    drop(stdin);
                    sip(&mut run).await?;
                    streams.push(run);
                }
                Ok(vec![streams.len() as f64])
            }
            "sip" => {
                for run in &mut streams {
                    sip(run).await?;
                }
                Ok(vec![streams.len() as f64])
            }
            _ => Err(format!("no such task: {task}").into()),
        }
    }))
}

async fn sip(run: &mut Run) -> Result<(), Failure> {
    loop {
        match run.next().await? {
            Some(Event::Stdout(_)) => return Ok(()),
            Some(Event::Started { .. }) => {}
            event => return Err(format!("the stream has ended: {event:?}").into()),
        }
    }
}
