//! One session beside 63 sessions that read nothing. The client of those is frozen in the middle of a stream in each,
//! so that every buffer between exec-server and client fills up, including HTTP/2's windows.
//!
//! Between visits the frozen client continues for a moment, because a relay closes the connection of a client that does
//! not answer its keep-alive.

use std::thread::sleep;
use std::time::{Duration, Instant};

use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Worker, start_in_turns};
use baton_support::process::usage;

use super::{BenchContext, Compared, one, per_megabyte};
use crate::bars;
use crate::limits::{SESSIONS, SETTLE};
use crate::peers::{Baton, key};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let bytes = bench.plan.stalled_bytes;
    let mut rows = Vec::new();
    for direction in ["download", "upload"] {
        let own = |client: &Worker| one(client.ask(format!("{direction} {bytes}"))?);
        let visit = |processes: &Processes, visited: usize| {
            let Processes { beside, alone } = processes;
            let seconds = match visited {
                0 => beside.while_stalled(|| own(&beside.baton.client))?,
                peer => own(&alone[peer - 1].client)?,
            };
            Ok(per_megabyte(seconds, bytes))
        };
        let measured = bench.in_sets(bench.plan.stalled, 3, Processes::start, visit)?;
        let [own, peer, peer_again] = &measured[..] else {
            return Err("not three participants".into());
        };
        let compared = Compared {
            own,
            peer,
            peer_again: Some(peer_again),
            bar: Some(bars::STALLED),
        };
        let id = format!("{direction}_beside_stalled");
        let what = format!("{direction} beside 63 stalled sessions over alone");
        rows.push(bench.ratio(id, what, compared, Statistic::Rate));
        let id = format!("{direction}_beside_stalled_rate");
        let what = format!("{direction} beside 63 stalled sessions");
        rows.push(bench.throughput(id, what, own));
    }

    let register = |baton: &Baton| {
        let started = Instant::now();
        // From the start of the process until a client can dial it.
        let (_exec_server, _ticket) = baton.stack.another_exec_server("another_key")?;
        Ok::<_, Failure>(started.elapsed().as_secs_f64())
    };
    const TIMES: usize = 10;
    let visit = |processes: &Processes, visited: usize| {
        let Processes { beside, alone } = processes;
        let registers = |baton: &Baton| (0..TIMES).map(|_| register(baton)).collect();
        match visited {
            0 => beside.while_stalled(|| registers(&beside.baton)),
            peer => registers(&alone[peer - 1]),
        }
    };
    let measured = bench.in_sets(bench.plan.stalled, 3, Processes::start, visit)?;
    let [own, peer, peer_again] = &measured[..] else {
        return Err("not three participants".into());
    };
    let compared = Compared {
        own,
        peer,
        peer_again: Some(peer_again),
        bar: Some(bars::STALLED),
    };
    let what = "registrations/s beside 63 stalled sessions over alone".to_owned();
    rows.push(bench.ratio(
        "register_beside_stalled".to_owned(),
        what,
        compared,
        Statistic::Rate,
    ));
    let what = "a new exec-server, from start to registered, beside them, p50".to_owned();
    rows.push(bench.milliseconds("register_p50".to_owned(), what, own, Statistic::P50));
    Ok(rows)
}

/// A process set. The second stack alone is for A against A.
struct Processes {
    beside: Beside,
    alone: Vec<Baton>,
}

impl Processes {
    fn start(number: usize) -> Result<Self, Failure> {
        let mut beside = None;
        let alone = start_in_turns(number, 3, |process| match process {
            0 => {
                beside = Some(Beside::start()?);
                Ok(None)
            }
            _ => Baton::start().map(Some),
        })?;
        Ok(Self {
            beside: beside.ok_or("no stalled sessions")?,
            alone: alone.into_iter().flatten().collect(),
        })
    }
}

/// A stack with 63 sessions that stall on demand, and capacity for the session that is measured.
struct Beside {
    baton: Baton,
    crowd: Worker,
}

impl Beside {
    fn start() -> Result<Self, Failure> {
        let baton = Baton::start()?;
        let ticket = baton.stack.ticket().to_string();
        let crowd = Worker::start(&["crowd", &key(&baton.stack)?, &ticket], None)?;
        crowd.ask(format!("open {}", SESSIONS - 1))?;
        crowd.ask("stream")?;
        let beside = Self { baton, crowd };
        beside.check()?;
        Ok(beside)
    }

    /// Checks that all 63 sessions are open: each stream continues.
    fn check(&self) -> Result<(), Failure> {
        let alive = one(self.crowd.ask("sip")?)?;
        if alive == (SESSIONS - 1) as f64 {
            Ok(())
        } else {
            Err(format!("{alive} of {} stalled sessions are still open", SESSIONS - 1).into())
        }
    }

    fn while_stalled<T>(&self, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        // Reads a little of each stream. All buffers fill up again afterwards.
        self.check()?;
        self.crowd.freeze()?;
        let worked = self.settle().and_then(|()| work());
        self.crowd.thaw()?;
        let worked = worked?;
        self.check()?;
        Ok(worked)
    }

    /// Waits until neither relay nor exec-server uses CPU time.
    fn settle(&self) -> Result<(), Failure> {
        const INTERVAL: Duration = Duration::from_millis(50);
        const IDLE: Duration = Duration::from_millis(1);
        let deadline = Instant::now() + SETTLE;
        let used = || -> std::io::Result<Duration> {
            Ok(usage::cpu_time(self.baton.stack.relay.pid())?
                + usage::cpu_time(self.baton.stack.exec_server.pid())?)
        };
        let mut before = used()?;
        loop {
            sleep(INTERVAL);
            let now = used()?;
            if now.saturating_sub(before) < IDLE {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err("relay and exec-server did not become idle beside the stalled sessions".into());
            }
            before = now;
        }
    }
}
