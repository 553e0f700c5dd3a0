//! The size of a corpus on the disk, over the same traces as OTLP/JSON.
//!
//! Both are what a file system allocates (`st_blocks`). The corpus is written by [`Corpus::append`], a trace at a time
//! as commands do, with the rotation of the product, and recompressed. Its traces differ as those of different commands
//! do: ids, times, process ids, instances, labels, exit codes. The names of programs, labels and machines are not those
//! that the dictionary was trained with.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use baton_corpus::samples::{Names, Samples};
use baton_corpus::{Corpus, compact};
use baton_export::json;

/// The most that the corpus takes, over the JSON.
const SIZE_BAR: f64 = 0.06;

const NAMES: Names = Names {
    programs: &["terraform", "pytest", "helm", "swift", "javac", "ffmpeg"],
    labels: &["plan", "apply", "unit", "encode", "compile"],
    threads: &["nightly", "pull-4711", "incident-9"],
    hosts: &["runner-a", "runner-b", "workstation"],
};

/// Writes both, prints their sizes, and returns whether the bar is held.
pub(crate) fn measure(traces: u64) -> io::Result<bool> {
    let dir = tempfile::tempdir()?;
    let (json_file, directory) = (dir.path().join("traces.json"), dir.path().join("corpus"));
    let mut json = BufWriter::new(File::create(&json_file)?);
    let corpus = Corpus::open(&directory).map_err(io::Error::other)?;
    let mut samples = Samples::new(NAMES, 20);
    let (mut appending, mut spans, mut segments) = (Duration::ZERO, 0, 1);
    for _ in 0..traces {
        let record = samples.record();
        json::write(&mut json, std::slice::from_ref(&record))?;
        let part = samples.part(&record);
        spans += part.spans();
        let begun = Instant::now();
        let appended = corpus.append(&part).map_err(io::Error::other)?;
        appending += begun.elapsed();
        segments += u64::from(appended.closed_a_segment);
    }
    json.flush()?;
    json.get_ref().sync_all()?;
    let plain = json_file.metadata()?.blocks() * 512;
    let single = allocated(&directory)?;
    let begun = Instant::now();
    compact(&directory, true).map_err(io::Error::other)?;
    let compacting = begun.elapsed();
    let together = allocated(&directory)?;
    let ratio = together as f64 / plain as f64;
    println!("corpus of {traces} traces of {spans} spans: JSON {plain} bytes of disk");
    println!(
        "appended: {single} bytes ({:.4}), {:?} an append; recompressed {segments} segments in {compacting:?}",
        single as f64 / plain as f64,
        appending / u32::try_from(traces).unwrap_or(u32::MAX),
    );
    println!("size of the corpus over JSON: {ratio:.4} ({together} bytes; at most {SIZE_BAR})");
    Ok(ratio <= SIZE_BAR)
}

/// What the file system allocated for all files of a directory, and for the directory itself.
fn allocated(directory: &Path) -> io::Result<u64> {
    let mut blocks = directory.metadata()?.blocks();
    for entry in directory.read_dir()? {
        let file = File::open(entry?.path())?;
        // Blocks are allocated when they are written back.
        file.sync_all()?;
        blocks += file.metadata()?.blocks();
    }
    Ok(blocks * 512)
}
