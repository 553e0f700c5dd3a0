//! Mixed commands in four concurrent loops. No answer and no record may be lost, and memory must reach a plateau.
//!
//! ```text
//! cargo bench -p baton-bench --bench soak [-- --quick --commands N --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! Relay and exec-server are the `baton` binary. Each loop has its own client and session. The expected answer of a
//! command is known before it is sent ([`mix`]); any other answer ends the run. Afterwards the exec-server's records
//! are counted: there must be one per command.

mod mix;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use baton_bench::options::parse;
use baton_bench::records;
use baton_bench::run::main as run_main;
use baton_bench::stats::{Bar, Estimate};
use baton_bench::{Failure, Row, Run, Unit};
use baton_core_client::{Client, Seed};
use baton_support::process::{Stack, usage};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::mix::Mix;

/// Concurrent loops.
const LOOPS: usize = 4;

/// The interval between two samples of memory.
const INTERVAL: Duration = Duration::from_millis(500);

/// Peak memory of the relay in the last fifth of the time, over that in the fifth before it.
const PLATEAU: Bar = Bar::AtMost(1.05);

/// Growth of the exec-server per command in the last fifth, in bytes. A finished id takes this much for ten minutes
/// (`FINISHED_BYTES` over `FINISHED_MAX` in `limits.rs` of the exec-server).
const GROWTH: Bar = Bar::AtMost(280.0);

/// Runs mixed commands and checks that nothing is lost.
#[derive(clap::Parser)]
struct Options {
    #[command(flatten)]
    shared: baton_bench::Options,
    /// Number of commands; 100,000, or 4,000 with --quick
    #[arg(long)]
    commands: Option<usize>,
}

fn main() -> ExitCode {
    let no_role = |_: &[String]| Err("this benchmark has no workers".into());
    run_main("soak", no_role, || measure(&parse(["soak"])))
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    let default = if options.shared.quick { 4_000 } else { 100_000 };
    let commands = options.commands.unwrap_or(default);
    let mut run = Run::begin(
        "soak",
        &options.shared,
        &format!("{commands} commands, {LOOPS} loops"),
    );
    let soak = Soak {
        commands,
        seed: run.seed(),
    };
    run.phases(&soak, &[("soak", Soak::rows)])?;
    run.end()
}

struct Soak {
    commands: usize,
    seed: u64,
}

/// Resident bytes of relay and exec-server, one sample per [`INTERVAL`].
type MemorySamples = Vec<[u64; 2]>;

impl Soak {
    fn rows(&self) -> Result<Vec<Row>, Failure> {
        let mut state = PathBuf::new();
        let stack = Stack::start_with(None, |command, dir| {
            state = dir.join("state");
            command.arg("--state").arg(&state);
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let began = Instant::now();
        let samples = runtime.block_on(self.loops(&stack))?;
        let took = began.elapsed();
        runtime.block_on(client(&stack)?.records().flush(0))?;
        let recorded = records::count(&state)?;
        stack.stop()?;

        let count = |id: &str, what: &str, value: f64, bar| {
            Row::once(id, what, Unit::Count, Estimate::exact(value)).bar(bar)
        };
        let rate = Estimate::exact(self.commands as f64 / took.as_secs_f64());
        let mut rows = vec![
            count(
                "answered",
                "commands answered as they must be",
                self.commands as f64,
                None,
            ),
            count(
                "unrecorded",
                "commands without exactly one record",
                (self.commands as f64 - recorded as f64).abs(),
                Some(Bar::AtMost(0.0)),
            ),
            Row::once("rate", "commands, four loops", Unit::PerSecond, rate),
        ];
        let fifth = samples.len() / 5;
        let is_long = fifth > 10;
        let peak = |part: usize, from: usize| {
            let of = samples.iter().skip(from * fifth).take(fifth);
            of.map(|sample| sample[part] as f64).fold(f64::NAN, f64::max)
        };
        for (part, name) in ["relay", "exec-server"].into_iter().enumerate() {
            let resident = (0..5).map(|from| peak(part, from)).fold(f64::NAN, f64::max);
            let what = format!("resident at most, {name}");
            rows.push(Row::once(
                format!("resident_{part}"),
                what,
                Unit::Megabytes,
                Estimate::exact(resident / 1e6),
            ));
        }
        rows.push(
            Row::once(
                "relay_plateau",
                "resident at most in the last fifth over the fifth before, relay",
                Unit::Times,
                Estimate::exact(peak(0, 4) / peak(0, 3)),
            )
            .bar(is_long.then_some(PLATEAU)),
        );
        let growth = (peak(1, 4) - peak(1, 3)) / (self.commands as f64 / 5.0);
        rows.push(
            Row::once(
                "exec_server_growth",
                "growth per command in the last fifth, exec-server",
                Unit::Bytes,
                Estimate::exact(growth),
            )
            .bar(is_long.then_some(GROWTH)),
        );
        Ok(rows)
    }

    async fn loops(&self, stack: &Stack) -> Result<MemorySamples, Failure> {
        let begun = Arc::new(AtomicUsize::new(0));
        let mut loops = JoinSet::new();
        for nth in 0..LOOPS {
            let mix = Mix {
                client: client(stack)?,
                ticket: stack.ticket().to_string(),
                key: stack.client_key(),
            };
            let (begun, commands) = (Arc::clone(&begun), self.commands);
            let mut random = StdRng::seed_from_u64(self.seed ^ nth as u64);
            loops.spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < commands {
                    mix.one(&mut random).await?;
                }
                mix.client.close().await;
                Ok::<_, Failure>(())
            });
        }
        let pids = [stack.relay.pid(), stack.exec_server.pid()];
        let mut samples = MemorySamples::new();
        let mut tick = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                ended = loops.join_next() => match ended {
                    Some(ended) => ended??,
                    None => return Ok(samples),
                },
                _ = tick.tick() => {
                    let [relay, exec_server] = pids.map(usage::resident_bytes);
                    samples.push([relay?, exec_server?]);
                }
            }
        }
    }
}

fn client(stack: &Stack) -> Result<Client, Failure> {
    let key = Seed::read(&stack.client_key())?.client_key()?;
    Ok(Client::new(stack.ticket().parse()?, key))
}
