//! The client: a program with the library, one thread and one session. Every command has a grace.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baton_bench::{Failure, worker};
use baton_core_client::{Client, Command, Event, ExitStatus, Recovery, Seed, Ticket};
use tokio::task::{JoinSet, LocalSet};

use super::endless::Endless;
use super::program::{Checked, Job};

/// Connects, then answers:
///
/// | request | answer |
/// |---|---|
/// | `echo COMMANDS WIDTH` | runs `echo ok`; wrong bytes, wrong exits |
/// | `flush` | nothing, when the exec-server has written its records |
/// | `start COMMANDS WIDTH PIECES PAUSE-MS FILE` | nothing; starts commands that write known output |
/// | `ended` | how many of these have ended |
/// | `finish` | waits for all of them; wrong bytes, wrong exits, calls that were attached again |
/// | `endless FILE` | nothing; starts one command that writes all the time |
/// | `recovered KILLED BACK` | seconds from the time BACK to the next byte after a recovery that ended after KILLED |
/// | `end` | ends that command; wrong bytes, wrong exits |
///
/// WIDTH commands run at once. Times are nanoseconds since 1970. Errors of commands are written beside FILE.
pub(super) fn main(ticket: &str, key: &str) -> Result<(), Failure> {
    let ticket: Ticket = ticket.parse()?;
    let key = Seed::read(Path::new(key))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let client = Client::new(ticket, key.client_key()?);
        client.connect().await?;
        let mut commands: Option<Commands> = None;
        let mut endless: Option<Endless> = None;
        worker::answer("ready", async |request| {
            let words: Vec<&str> = request.split(' ').collect();
            match words[..] {
                ["echo", commands, width] => echo(&client, commands.parse()?, width.parse()?).await,
                ["flush"] => {
                    client.records().flush(0).await?;
                    Ok(Vec::new())
                }
                ["start", count, width, pieces, pause_ms, file] => {
                    let job = Jobs {
                        pieces: pieces.parse()?,
                        pause_ms: pause_ms.parse()?,
                        file: file.to_owned(),
                    };
                    commands = Some(Commands::start(&client, count.parse()?, width.parse()?, job));
                    Ok(Vec::new())
                }
                ["ended"] => {
                    let commands = commands.as_ref().ok_or("nothing was started")?;
                    Ok(vec![f64::from(commands.tally.borrow().ended)])
                }
                ["finish"] => commands.take().ok_or("nothing was started")?.finish().await,
                ["endless", file] => {
                    endless = Some(Endless::start(&client, file).await?);
                    Ok(Vec::new())
                }
                ["recovered", killed, back] => {
                    let endless = endless.as_mut().ok_or("nothing was started")?;
                    Ok(vec![endless.recovered(killed.parse()?, back.parse()?).await?])
                }
                ["end"] => endless.take().ok_or("nothing was started")?.end().await,
                _ => Err(format!("no such task: {request}").into()),
            }
        })
        .await
    })
}

/// What the commands so far have shown.
#[derive(Debug, Default)]
struct Tally {
    begun: u32,
    ended: u32,
    wrong_bytes: u64,
    wrong_exits: u32,
}

struct Jobs {
    pieces: u32,
    pause_ms: u64,
    file: String,
}

/// Running commands with known output.
struct Commands {
    lanes: JoinSet<Result<(), Failure>>,
    tally: Rc<RefCell<Tally>>,
    recovered: Arc<AtomicU64>,
}

impl Commands {
    fn start(client: &Client, count: u32, width: u32, jobs: Jobs) -> Self {
        let (tally, recovered) = (Rc::<RefCell<Tally>>::default(), Arc::<AtomicU64>::default());
        let jobs = Rc::new(jobs);
        let mut lanes = JoinSet::new();
        for _ in 0..width {
            let (client, jobs) = (client.clone(), Rc::clone(&jobs));
            let (tally, recovered) = (Rc::clone(&tally), Arc::clone(&recovered));
            lanes.spawn_local(async move {
                loop {
                    let number = tally.borrow().begun;
                    if number == count {
                        return Ok(());
                    }
                    tally.borrow_mut().begun += 1;
                    one(&client, Job::new(number, jobs.pieces), &jobs, &recovered, &tally).await?;
                    tally.borrow_mut().ended += 1;
                }
            });
        }
        Self {
            lanes,
            tally,
            recovered,
        }
    }

    async fn finish(mut self) -> Result<Vec<f64>, Failure> {
        while let Some(lane) = self.lanes.join_next().await {
            lane??;
        }
        let tally = self.tally.borrow();
        Ok(vec![
            tally.wrong_bytes as f64,
            tally.wrong_exits.into(),
            self.recovered.load(Ordering::Relaxed) as f64,
        ])
    }
}

/// Runs one command. Fails only if it cannot tell.
async fn one(
    client: &Client,
    job: Job,
    jobs: &Jobs,
    recovered: &Arc<AtomicU64>,
    tally: &RefCell<Tally>,
) -> Result<(), Failure> {
    let recovered = Arc::clone(recovered);
    let command = job.command(&jobs.file, jobs.pause_ms)?;
    let command = command.on_recovery(Arc::new(move |recovery| {
        if let Recovery::Attached { .. } = recovery {
            recovered.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let mut output = Checked::new(job.number);
    let mut exits = Vec::new();
    if let Err(error) = follow(client, command, &mut output, &mut exits).await {
        let path = Path::new(&jobs.file).with_extension("errors");
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "command {}: {error}", job.number)?;
    }
    let mut tally = tally.borrow_mut();
    tally.wrong_bytes += output.wrong(job.bytes());
    tally.wrong_exits += u32::from(exits != [job.status()]);
    Ok(())
}

async fn follow(
    client: &Client,
    command: Command,
    output: &mut Checked,
    exits: &mut Vec<ExitStatus>,
) -> Result<(), Failure> {
    let (mut run, stdin) = client.start(command).await?;
    drop(stdin);
    let mut lost = 0;
    while let Some(event) = run.next().await? {
        match event {
            Event::Stdout(data) => output.take(&data),
            Event::Gap { events } => {
                output.gap();
                lost += events;
            }
            Event::Exited { status, .. } => exits.push(status),
            Event::Started { .. } | Event::Closed { truncated: false, .. } => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    match lost {
        0 => Ok(()),
        events => Err(format!("{events} events of output were lost").into()),
    }
}

async fn echo(client: &Client, commands: usize, width: usize) -> Result<Vec<f64>, Failure> {
    let wrong = Rc::new(RefCell::new((0, 0u32, commands)));
    let mut lanes = JoinSet::new();
    for _ in 0..width {
        let (client, wrong) = (client.clone(), Rc::clone(&wrong));
        lanes.spawn_local(async move {
            loop {
                let left = wrong.borrow().2;
                if left == 0 {
                    return Ok::<_, Failure>(());
                }
                wrong.borrow_mut().2 -= 1;
                let command = Command::new("echo").arg("ok").grace(super::program::GRACE);
                let output = client.run(command).await?;
                let mut wrong = wrong.borrow_mut();
                if output.stdout != b"ok\n" || !output.stderr.is_empty() {
                    wrong.0 += (output.stdout.len() + output.stderr.len()).max(1);
                }
                wrong.1 += u32::from(!output.status.success());
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane??;
    }
    let wrong = wrong.borrow();
    Ok(vec![wrong.0 as f64, wrong.1.into()])
}
