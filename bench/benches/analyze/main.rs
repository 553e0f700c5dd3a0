//! The benchmark of `baton analyze`: 100,000 traces of 24 spans on one core, and the size of a corpus of as many.
//!
//! ```text
//! cargo bench -p baton-bench --bench analyze -- [--quick] [--check]
//! cargo bench -p baton-bench --bench analyze -- corpus TRACES
//! ```
//!
//! The reference parses the same file with serde_json into the structures that the reader uses, and drops them. Both
//! read the file line by line, in turns. The memory is that of a process of its own, which only analyzes.

mod corpus;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use baton_analyze::analysis::{Analysis, Question};
use baton_analyze::model::Trace;
use baton_analyze::read::Reader;
use baton_analyze::read::otlp::WholeDocument;
use baton_export::{clock, json};
use baton_trace::record::{Anchor, CallRecord, Side, StageRecord};
use baton_trace::stage::{StageId, exec, transport};
use baton_trace::status::RpcStatus;
use baton_trace::w3c::TraceContext;

/// Traces, and those of `--quick`.
const TRACES: [u64; 2] = [100_000, 10_000];

/// Times that both are measured, in turns.
const ROUNDS: usize = 5;

/// The least rate of the analysis over that of the reference.
const RATE_BAR: f64 = 0.7;

/// The most resident memory.
const MEMORY_BAR: u64 = 200_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let done = match &arguments[..] {
        [role, file] if role == "analyze" => analyze(Path::new(file)).map(|_| report_memory()),
        [role, traces] if role == "corpus" => measure_corpus(traces),
        options => measure(options),
    };
    done.unwrap_or_else(|error| {
        println!("failed: {error}");
        ExitCode::FAILURE
    })
}

/// The size of a corpus alone.
fn measure_corpus(traces: &str) -> io::Result<ExitCode> {
    let is_small = corpus::measure(traces.parse().map_err(io::Error::other)?)?;
    Ok(ExitCode::from(u8::from(!is_small)))
}

fn measure(options: &[String]) -> io::Result<ExitCode> {
    let has = |option: &str| options.iter().any(|given| given == option);
    let traces = TRACES[usize::from(has("--quick"))];
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("traces.json");
    write(&file, traces)?;
    let bytes = file.metadata()?.len();
    println!("{traces} traces, {bytes} bytes");
    // Both have read the file once before.
    let mut ratios = Vec::new();
    reference(&file)?;
    analyze(&file)?;
    for _ in 0..ROUNDS {
        let (parsed, analyzed) = (reference(&file)?, analyze(&file)?);
        println!("serde_json {parsed:?}, analyze {analyzed:?}");
        ratios.push(parsed.as_secs_f64() / analyzed.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    let rate = ratios[ROUNDS / 2];
    let child = Command::new(std::env::current_exe()?)
        .arg("analyze")
        .arg(&file)
        .output()?;
    let resident: u64 = String::from_utf8_lossy(&child.stdout)
        .trim()
        .parse()
        .map_err(io::Error::other)?;
    let is_small = corpus::measure(traces)?;
    let is_passed = rate >= RATE_BAR && resident <= MEMORY_BAR && is_small;
    println!("rate over serde_json: {rate:.2} (at least {RATE_BAR})");
    println!("resident: {resident} bytes (at most {MEMORY_BAR})");
    Ok(ExitCode::from(u8::from(has("--check") && !is_passed)))
}

fn analyze(file: &Path) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut analysis = Analysis::new(Question::default());
    let mut deliver = |trace: Trace| analysis.add(&trace);
    let mut reader = Reader::new(&mut deliver);
    reader.file(file).map_err(io::Error::other)?;
    let summary = reader.finish().map_err(io::Error::other)?;
    let report = analysis.finish(&summary).map_err(io::Error::other)?;
    assert_eq!(report.calls, summary.traces);
    Ok(begun.elapsed())
}

fn reference(file: &Path) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut lines = BufReader::with_capacity(256 * 1024, File::open(file)?);
    let mut line = Vec::new();
    let mut groups = 0;
    while lines.read_until(b'\n', &mut line)? > 0 {
        let document: WholeDocument<'_> = serde_json::from_slice(&line)?;
        groups += document.resource_spans.len();
        line.clear();
    }
    assert!(groups > 0);
    Ok(begun.elapsed())
}

/// Prints the most memory that this process has held (`VmHWM`), in bytes.
fn report_memory() -> ExitCode {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    println!("{}", kib.unwrap_or(u64::MAX / 1024).saturating_mul(1024));
    ExitCode::SUCCESS
}

/// 24 spans a trace, one trace a line, as `--trace-json` writes them.
fn write(file: &Path, traces: u64) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    for nth in 0..traces {
        json::write(&mut out, &[record(nth)])?;
    }
    io::Write::flush(&mut out)
}

fn record(nth: u64) -> CallRecord {
    // A deterministic spread of durations over two orders of magnitude.
    let spread = |salt: u64| {
        (nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 47
    };
    let stages = baton_trace::stage::all()
        .filter(|row| row.id != transport::CALL && !row.name.starts_with("family."))
        .take(23);
    let mut at = 0;
    let mut records: Vec<StageRecord> = stages
        .map(|row| {
            let start_ns = at;
            at += 1_000 + spread(row.id.0.into()) as i64;
            stage(row.id, start_ns, at)
        })
        .collect();
    let is_whole = |record: &StageRecord| [transport::RPC, exec::PROCESS].contains(&record.stage);
    for record in records.iter_mut().filter(|record| is_whole(record)) {
        record.end_ns = at;
    }
    records.push(stage(transport::CALL, 0, at + 5_000));
    CallRecord {
        side: Side::Client,
        context: TraceContext::new_root(true),
        parent: None,
        links: Vec::new(),
        method: "baton.exec.v1.Exec/Run".into(),
        anchor: Anchor {
            unix_ns: 1_700_000_000_000_000_000 + nth * 1_000_000_000,
            ..clock::anchor()
        },
        stages: records,
        status: RpcStatus(0),
        clock: None,
        server_unix_ns: None,
        server_calls: Vec::new(),
        attributes: Vec::new(),
        command: None,
    }
}

fn stage(stage: StageId, start_ns: i64, end_ns: i64) -> StageRecord {
    StageRecord {
        stage,
        attempt: 0,
        start_ns,
        end_ns,
        estimated: false,
    }
}
