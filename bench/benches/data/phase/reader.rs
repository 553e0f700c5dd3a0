//! A reader that stalls in the middle of 2 GiB: the memory growth of each component during the stall.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use baton_bench::stats::Bar;
use baton_bench::{Failure, Row};
use baton_support::process::usage;

use super::{BenchContext, kibibytes};
use crate::limits::{FLOW_BEFORE_STALL, READ_BEFORE_STALL, STALL_SECONDS, WATCH, WINDOW};
use crate::peers::Baton;

/// Numbers of streams that share the bytes.
const STREAMS: [u64; 2] = [1, 16];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let bytes = bench.plan.stall_bytes;
    let mut rows = Vec::new();
    for streams in STREAMS {
        let baton = Baton::start()?;
        let parts = [
            ("relay", baton.stack.relay.pid()),
            ("exec_server", baton.stack.exec_server.pid()),
            ("client", baton.client.pid()),
        ];
        let resident = || -> std::io::Result<Vec<u64>> {
            parts.iter().map(|(_, pid)| usage::resident_bytes(*pid)).collect()
        };
        // The baseline includes the memory of a flowing stream. The growth beyond it is due to the stall.
        baton.client.ask(format!("download {FLOW_BEFORE_STALL}"))?;
        let before = resident()?;
        let most = {
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                let watching = scope.spawn(|| {
                    let mut most = before.clone();
                    while !done.load(Ordering::Relaxed) {
                        for (most, now) in most.iter_mut().zip(resident()?) {
                            *most = now.max(*most);
                        }
                        thread::sleep(WATCH);
                    }
                    Ok::<_, std::io::Error>(most)
                });
                let each = bytes / streams;
                let asked = baton.client.ask(format!(
                    "stall {streams} {each} {READ_BEFORE_STALL} {STALL_SECONDS}"
                ));
                done.store(true, Ordering::Relaxed);
                let most = watching.join().map_err(|_| "the watcher panicked")?;
                asked?;
                Ok::<_, Failure>(most?)
            })?
        };
        for (((part, _), before), most) in parts.iter().zip(&before).zip(&most) {
            let bound = streams * WINDOW;
            let what = format!(
                "growth of the {} in {} MB to {streams} stalled reader{}",
                part.replace('_', "-"),
                bytes / 1_000_000,
                if streams == 1 { "" } else { "s" },
            );
            let grown = most.saturating_sub(*before);
            let id = format!("stalled_reader_{streams}_{part}");
            let bar = Bar::AtMost(bound as f64 / 1024.0);
            rows.push(kibibytes(id, what, grown as f64).bar(Some(bar)));
        }
    }
    Ok(rows)
}
