//! How long queries take on a database of a million records: `cargo bench -p baton-meta --bench history [-- RECORDS]`.
//!
//! Records are spread over 30 days, one in twenty failed, over 1,000 threads and two owners, with arguments and timings as real
//! ones have. The file is made through the store's own writer, on the disk that holds the temporary directory. Every query is repeated with a
//! warm page cache, through a [`Reader`] as the server uses it; percentiles are of 200 repetitions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_meta::record::{
    Outcome, Owner, ProcessEnd, ProcessKey, ProcessPatch, ProcessSpawned, ProcessStart, SlowestStage,
    Timings, TraceRef,
};
use baton_meta::store::query::{HistoryQuery, ThreadsQuery};
use baton_meta::store::retention::Retention;
use baton_meta::store::sqlite::{self, Options, Reader};
use baton_meta::store::timings::{StageTime, encode};
use baton_meta::{Batch, Store, ThreadPatch};
use baton_proto::{Epoch, ProcessId};
use baton_trace::stage::exec;

const NOW: u64 = 1_793_491_200_000_000_000;
const DAY: u64 = 86_400_000_000_000;
const SPAN: u64 = 30 * DAY;
const REPETITIONS: usize = 200;
const BATCH: u64 = 5_000;
const ME: Owner = Owner([1; 32]);

fn main() {
    let records = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .next()
        .unwrap_or(1_000_000);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = Options {
        directory: directory.path().join("state"),
        name: "benchmark".to_owned(),
        epoch: Epoch([1; 16]),
        retention: Retention::default(),
        now_unix_ns: NOW,
    };
    let mut opened = sqlite::open(&options, &mut |_| {}).expect("a new database");
    let since = Instant::now();
    for first in (0..records).step_by(BATCH as usize) {
        opened
            .store
            .write(&batch(first, (first + BATCH).min(records), records))
            .expect("written");
    }
    let took = since.elapsed().as_secs_f64();
    println!(
        "{records} records in {took:.1} s ({:.0}/s, batches of {BATCH}), {} MiB",
        records as f64 / took,
        opened.store.bytes() >> 20
    );
    measure(&opened.reader, records);
    drop(opened);
    let since = Instant::now();
    drop(sqlite::open(&options, &mut |_| {}).expect("opened again"));
    println!(
        "{:<44} {:>9.3} ms",
        "opening it again",
        since.elapsed().as_secs_f64() * 1e3
    );
}

fn measure(reader: &Reader, records: u64) {
    let all = HistoryQuery {
        limit: 50,
        ..HistoryQuery::of(ME)
    };
    let since = HistoryQuery {
        since_unix_ns: Some(NOW - DAY),
        ..all.clone()
    };
    let failed = HistoryQuery {
        failed: true,
        ..since.clone()
    };
    let thread = HistoryQuery {
        thread_id: Some("thread 7".to_owned()),
        ..all.clone()
    };
    let count = |query: &HistoryQuery| reader.history(query).expect("read").items.len();
    report("history --failed --since 1d, a page of 50", || count(&failed));
    report("history --failed --since 1d, all of it", || {
        let mut query = HistoryQuery {
            limit: 1_000,
            ..failed.clone()
        };
        let mut found = 0;
        loop {
            let page = reader.history(&query).expect("read");
            found += page.items.len();
            query.after = page.next;
            if page.next.is_none() {
                return found;
            }
        }
    });
    report("history --since 1d, a page of 50", || count(&since));
    report("history, a page of 50", || count(&all));
    report("history --thread T, a page of 50", || count(&thread));
    report("history --thread T --failed, a page of 50", || {
        count(&HistoryQuery {
            failed: true,
            ..thread.clone()
        })
    });
    let id = ProcessId(id(records / 2)).to_string();
    report("show ID", || usize::from(reader.find(ME, &id).is_ok()));
    let trace: String = trace(2).iter().map(|byte| format!("{byte:02x}")).collect();
    report("show TRACE", || usize::from(reader.find(ME, &trace).is_ok()));
    let threads = ThreadsQuery {
        owner: ME,
        archived: false,
        after: None,
        limit: 50,
    };
    report("threads, a page of 50", || {
        reader.threads(&threads).expect("read").items.len()
    });
}

fn report(what: &str, mut query: impl FnMut() -> usize) {
    let mut times: Vec<Duration> = Vec::new();
    let mut rows = 0;
    for _ in 0..REPETITIONS {
        let since = Instant::now();
        rows = query();
        times.push(since.elapsed());
    }
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "{what:<44} p50 {:>8.3} ms  p99 {:>8.3} ms  {rows} rows",
        at(50),
        at(99)
    );
}

fn batch(first: u64, end: u64, records: u64) -> Batch {
    let thread = |n: u64| {
        let key = baton_meta::record::ThreadKey {
            owner: owner(n),
            thread_id: thread_id(n),
        };
        ThreadPatch {
            title: Some(Some("a title".into())),
            ..ThreadPatch::touch(key, begun(n, records))
        }
    };
    Batch {
        processes: (first..end).map(|n| process(n, records)).collect(),
        threads: (first..end.min(first + 500)).map(thread).collect(),
    }
}

fn owner(n: u64) -> Owner {
    if n.is_multiple_of(10) { Owner([2; 32]) } else { ME }
}

fn thread_id(n: u64) -> Arc<str> {
    format!("thread {}", n % 1_000).into()
}

fn begun(n: u64, records: u64) -> u64 {
    NOW - SPAN + n * (SPAN / records.max(1))
}

/// As a UUIDv7: first the time, then what looks random.
fn id(n: u64) -> [u8; 16] {
    let mut id = trace(n.wrapping_mul(3));
    id[..8].copy_from_slice(&(n << 8).to_be_bytes());
    id
}

fn trace(n: u64) -> [u8; 16] {
    u128::from(n + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        .to_be_bytes()
}

fn process(n: u64, records: u64) -> ProcessPatch {
    let accepted = begun(n, records);
    let code = i32::from(n.is_multiple_of(20));
    let time = |stage, start_ns, duration_ns| StageTime {
        stage,
        attempt: 0,
        start_ns,
        duration_ns,
    };
    let stages = [
        time(exec::PROCESS, 0, 900_000 + n % 70_000),
        time(exec::PROCESS_SPAWN, 10, 300_000 + n % 50_000),
        time(exec::PROCESS_FIRST_OUTPUT, 300_010, 200_000 + n % 9_000),
        time(exec::PROCESS_STDOUT, 500_010, 300_000 + n % 8_000),
        time(exec::PROCESS_WAIT, 300_010, 590_000 + n % 7_000),
        time(exec::PROCESS_CLOSE, 890_010, 9_000 + n % 1_000),
    ];
    ProcessPatch {
        start: Some(Arc::new(ProcessStart {
            epoch: Epoch([1; 16]),
            boot_id: [3; 16],
            thread_id: Some(thread_id(n)),
            argv: [
                &b"cargo"[..],
                b"test",
                b"-p",
                b"some-crate",
                b"--",
                b"one_of_its_tests",
            ]
            .map(Into::into)
            .to_vec(),
            argv_cut: false,
            cwd: b"/home/somebody/src/some-project"[..].into(),
            accepted_unix_ns: accepted,
            detached: false,
            parameters: [5; 32],
            trace: Some(TraceRef {
                trace_id: trace(n),
                sampled: true,
            }),
        })),
        spawned: Some(ProcessSpawned {
            os_pid: 4_000_000,
            start_ticks: n,
            spawned_unix_ns: accepted + 300_000,
        }),
        last_seq: 4,
        end: Some(ProcessEnd {
            outcome: Outcome::Exited { code },
            fault: None,
            ended_unix_ns: accepted + 900_000,
            stdout_bytes: 3,
            stderr_bytes: 0,
            timings: Some(Timings {
                encoded: encode(&stages).into(),
                slowest: Some(SlowestStage {
                    stage: exec::PROCESS_WAIT,
                    duration_ns: 590_000,
                }),
            }),
        }),
        ..ProcessPatch::new(ProcessKey {
            owner: owner(n),
            process_id: ProcessId(id(n)),
        })
    }
}
