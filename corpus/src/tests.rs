//! A corpus as several processes write it, and as crashes leave it.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs};

use proptest::prelude::*;
use rustix::fs::{FlockOperation, flock};

use super::*;
use crate::dictionary::FrameReader;
use crate::part::TracePart;
use crate::samples::{Names, Samples};
use crate::segment::{Gap, Item, SegmentReader};

const NAMES: Names = Names {
    programs: &["terraform", "pytest"],
    labels: &["plan", "check"],
    threads: &["a", "b"],
    hosts: &["one", "two"],
};

fn parts(count: usize, seed: u64) -> Vec<TracePart<'static>> {
    let mut samples = Samples::new(NAMES, seed);
    (0..count)
        .map(|_| {
            let record = samples.record();
            samples.part(&record)
        })
        .collect()
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| is_segment_name(&path.file_name().unwrap().to_string_lossy());
    let mut segments: Vec<_> = names.filter(is_segment).collect();
    segments.sort_unstable();
    segments
}

/// The parts in some segments as text, by trace id, and the gaps.
fn read(segments: &[PathBuf]) -> (BTreeMap<u128, String>, Vec<Gap>) {
    let (mut found, mut gaps) = (BTreeMap::new(), Vec::new());
    let (mut frames, mut content) = (FrameReader::default(), Vec::new());
    for path in segments {
        let mut reader = SegmentReader::new(segment::open(path).unwrap());
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Block(block) => {
                    let deliver = |part: Result<TracePart<'_>, _>| {
                        let part = part.unwrap();
                        let twice = found.insert(part.trace_id, format!("{part:?}"));
                        assert_eq!(twice, None);
                    };
                    block.parts(&mut frames, &mut content, deliver).unwrap();
                }
                Item::Gap(gap) => gaps.push(gap),
            }
        }
    }
    (found, gaps)
}

fn expected(parts: &[TracePart<'_>]) -> BTreeMap<u128, String> {
    parts
        .iter()
        .map(|part| (part.trace_id, format!("{part:?}")))
        .collect()
}

#[test]
fn what_was_appended_is_read_before_and_after_recompression() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(200, 1);
    let corpus = Corpus::open(dir.path()).unwrap().with_segment_bytes(20_000);
    let mut closed = 0;
    for part in &parts {
        closed += u32::from(corpus.append(part).unwrap().closed_a_segment);
    }
    let before = segments(dir.path());
    assert!(closed >= 2 && before.len() as u32 == closed + 1);
    assert_eq!(read(&before), (expected(&parts), vec![]));
    let compacted = compact(dir.path(), false).unwrap();
    assert_eq!(compacted.segments, u64::from(closed));
    assert!(compacted.bytes_after < compacted.bytes_before);
    assert_eq!(segments(dir.path()), before, "segments keep their names");
    assert_eq!(read(&before), (expected(&parts), vec![]));
    // Once is enough.
    assert_eq!(compact(dir.path(), false).unwrap(), Compacted::default());
    assert_eq!(compact(dir.path(), true).unwrap().segments, 1);
    assert_eq!(read(&before), (expected(&parts), vec![]));
    corpus.append(&super::tests::parts(1, 9)[0]).unwrap();
    assert_eq!(segments(dir.path()).len(), before.len() + 1);
}

#[test]
fn of_a_recompressed_segment_only_the_index_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    for part in &parts(3, 7) {
        corpus.append(part).unwrap();
    }
    compact(dir.path(), true).unwrap();
    let segment = segments(dir.path()).remove(0);
    let mut damaged = fs::read(&segment).unwrap();
    damaged[block::INDEX_BYTES..].fill(0);
    fs::write(&segment, &damaged).unwrap();
    assert_eq!(compact(dir.path(), false).unwrap(), Compacted::default());
    // Without the index it is a segment that was damaged before.
    damaged.fill(0);
    fs::write(&segment, &damaged).unwrap();
    assert_eq!(compact(dir.path(), false).unwrap().damaged, 1);
}

#[test]
fn a_trace_takes_a_fraction_of_its_json() {
    let mut samples = Samples::new(NAMES, 3);
    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    let mut json = Vec::new();
    for _ in 0..500 {
        let record = samples.record();
        baton_export::json::write(&mut json, std::slice::from_ref(&record)).unwrap();
        corpus.append(&samples.part(&record)).unwrap();
    }
    let bytes = |dir: &Path| -> u64 {
        segments(dir)
            .iter()
            .map(|path| path.metadata().unwrap().len())
            .sum()
    };
    let single = bytes(dir.path()) as f64 / json.len() as f64;
    compact(dir.path(), true).unwrap();
    let together = bytes(dir.path()) as f64 / json.len() as f64;
    let mut reader = SegmentReader::new(fs::File::open(&segments(dir.path())[0]).unwrap());
    let mut blocks = 0_usize;
    while let Some(Item::Block(_)) = reader.next_item().unwrap() {
        blocks += 1;
    }
    assert_eq!(blocks, 500_usize.div_ceil(limits::FRAME_TRACES));
    println!(
        "{} bytes of JSON a trace; {single:.4} and {together:.4} of it",
        json.len() / 500
    );
    assert!(single < 0.06 && together < 0.03, "{single} {together}");
}

#[test]
fn a_torn_tail_is_passed_over_by_readers_and_removed_by_the_next_append() {
    let parts = parts(3, 4);
    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    corpus.append(&parts[0]).unwrap();
    let segment = segments(dir.path()).remove(0);
    let first = fs::metadata(&segment).unwrap().len() as usize;
    corpus.append(&parts[1]).unwrap();
    let whole = fs::read(&segment).unwrap();
    for cut in first + 1..whole.len() {
        fs::write(&segment, &whole[..cut]).unwrap();
        let (found, gaps) = read(std::slice::from_ref(&segment));
        assert_eq!(found, expected(&parts[..1]));
        let tail = Gap {
            offset: first as u64,
            len: (cut - first) as u64,
            is_tail: true,
            version: None,
        };
        assert_eq!(gaps, [tail]);
        let appended = corpus.append(&parts[2]).unwrap();
        assert_eq!(appended.torn_bytes, (cut - first) as u64);
        let (found, gaps) = read(std::slice::from_ref(&segment));
        assert_eq!(found, expected(&[parts[0].clone(), parts[2].clone()]));
        assert_eq!(gaps, []);
    }
    // A file system may leave zeros in the place of what was not written.
    let mut zeros = whole.clone();
    zeros[first..].fill(0);
    fs::write(&segment, &zeros).unwrap();
    let appended = corpus.append(&parts[2]).unwrap();
    assert_eq!(appended.torn_bytes, (whole.len() - first) as u64);
    // Or what was in the middle, though the end of the block is there.
    let mut damaged = whole.clone();
    damaged[first + 60] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let appended = corpus.append(&parts[2]).unwrap();
    assert_eq!(appended.torn_bytes, (whole.len() - first) as u64);
}

#[test]
fn a_torn_tail_of_a_full_segment_is_removed_and_reported_too() {
    let parts = parts(3, 12);
    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    corpus.append(&parts[0]).unwrap();
    let segment = segments(dir.path()).remove(0);
    let first = fs::metadata(&segment).unwrap().len();
    corpus.append(&parts[1]).unwrap();
    let torn = fs::metadata(&segment).unwrap().len() - 5;
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(torn).unwrap();
    let appended = corpus.with_segment_bytes(first).append(&parts[2]).unwrap();
    let expected_of_it = Appended {
        closed_a_segment: true,
        torn_bytes: torn - first,
    };
    assert_eq!(appended, expected_of_it);
    assert_eq!(fs::metadata(&segment).unwrap().len(), first);
    let (found, gaps) = read(&segments(dir.path()));
    assert_eq!(
        (found, gaps),
        (expected(&[parts[0].clone(), parts[2].clone()]), vec![])
    );
}

#[test]
fn a_damaged_block_costs_no_other() {
    let parts = parts(5, 5);
    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    let mut ends = vec![0];
    for part in &parts {
        corpus.append(part).unwrap();
        ends.push(fs::metadata(&segments(dir.path())[0]).unwrap().len() as usize);
    }
    let segment = segments(dir.path()).remove(0);
    let whole = fs::read(&segment).unwrap();
    for at in (ends[2]..ends[3]).step_by(3) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&segment, &damaged).unwrap();
        let (found, gaps) = read(std::slice::from_ref(&segment));
        let mut others = parts.clone();
        others.remove(2);
        assert_eq!(found, expected(&others), "byte {at}");
        assert_eq!((gaps[0].offset, gaps.len()), (ends[2] as u64, 1));
        assert_eq!(compact(dir.path(), true).unwrap().damaged, 1);
        assert_eq!(fs::read(&segment).unwrap(), damaged, "a damaged segment stays");
    }
}

#[test]
fn processes_that_append_at_once_lose_nothing_and_a_reader_finds_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<_> = (0..4).map(|seed| parts(60, 10 + seed)).collect();
    // To list many files takes a while, in which segments begin.
    for other in 0..3000 {
        fs::write(dir.path().join(format!("other-{other}")), []).unwrap();
    }
    std::thread::scope(|scope| {
        let writers: Vec<_> = all
            .iter()
            .map(|parts| {
                let dir = dir.path();
                scope.spawn(move || {
                    // Each append opens the files anew, as each process does.
                    let corpus = Corpus::open(dir).unwrap().with_segment_bytes(10_000);
                    for part in parts {
                        corpus.append(part).unwrap();
                    }
                })
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            compact(dir.path(), false).unwrap();
            let (_, gaps) = read(&segments(dir.path()));
            assert_eq!(gaps, []);
        }
    });
    compact(dir.path(), true).unwrap();
    assert_eq!(read(&segments(dir.path())), (expected(&all.concat()), vec![]));
}

/// Runs `the_process_that_appends` twice at once. Without the lock two processes find room for one block, or both begin a
/// segment.
#[test]
fn two_processes_that_append_at_once_fill_segments_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let start = |seed: u64| {
        let mut process = Command::new(env::current_exe().unwrap());
        process
            .args(["--exact", "tests::the_process_that_appends", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .env(SEED, seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = process.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_ready = lines.any(|line| line.unwrap().ends_with("ready"));
        assert!(is_ready, "the child process stopped early");
        (child, lines)
    };
    let mut children = SEEDS.map(start);
    for (child, _) in &mut children {
        drop(child.stdin.take());
    }
    while children
        .iter_mut()
        .any(|(child, _)| child.try_wait().unwrap().is_none())
    {
        let (_, gaps) = read(&segments(dir.path()));
        assert_eq!(gaps, []);
    }
    let mut closed = 0;
    for (child, lines) in &mut children {
        assert!(child.wait().unwrap().success());
        let mut counts =
            lines.filter_map(|line| line.unwrap().strip_prefix("closed ")?.parse::<usize>().ok());
        closed += counts.next().unwrap();
    }
    let segments = segments(dir.path());
    assert!(closed > 20 && segments.len() == closed + 1, "{closed}");
    for segment in &segments {
        let len = fs::metadata(segment).unwrap().len();
        assert!(len <= SMALL_SEGMENT_BYTES, "{len} bytes");
    }
    let [one, other] = SEEDS.map(|seed| parts(APPENDS, seed));
    let is_of_one = |id: &u128| one.iter().any(|part| part.trace_id == *id);
    let has_both = |segment: &PathBuf| {
        let (found, _) = read(std::slice::from_ref(segment));
        found.keys().any(is_of_one) && !found.keys().all(is_of_one)
    };
    assert!(segments.iter().any(has_both), "one process followed the other");
    assert_eq!(read(&segments), (expected(&[one, other].concat()), vec![]));
}

const DIRECTORY: &str = "BATON_TEST_CORPUS";
const SEED: &str = "BATON_TEST_CORPUS_SEED";
const SEEDS: [u64; 2] = [20, 21];
const APPENDS: usize = 400;
const SMALL_SEGMENT_BYTES: u64 = 4_000;

/// Runs only as a child process of `two_processes_that_append_at_once_fill_segments_and_lose_nothing`.
#[test]
fn the_process_that_appends() {
    let (Some(directory), Ok(seed)) = (env::var_os(DIRECTORY), env::var(SEED)) else {
        return;
    };
    let parts = parts(APPENDS, seed.parse().unwrap());
    let corpus = Corpus::open(directory)
        .unwrap()
        .with_segment_bytes(SMALL_SEGMENT_BYTES);
    println!("ready");
    // Both begin when standard input ends.
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    let closed = parts
        .iter()
        .filter(|part| corpus.append(part).unwrap().closed_a_segment);
    println!("closed {}", closed.count());
}

#[test]
fn a_recompression_that_was_killed_leaves_everything_readable() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(10, 6);
    let corpus = Corpus::open(dir.path()).unwrap();
    for part in &parts {
        corpus.append(part).unwrap();
    }
    let segment = segments(dir.path()).remove(0);
    let name = segment.file_name().unwrap().to_string_lossy().into_owned();
    let left = dir.path().join(name::temporary(&name));
    fs::write(&left, &fs::read(&segment).unwrap()[..100]).unwrap();
    assert_eq!(segments(dir.path()), [segment]);
    compact(dir.path(), true).unwrap();
    assert!(!left.exists());
    assert_eq!(read(&segments(dir.path())), (expected(&parts), vec![]));
}

#[test]
fn a_segment_with_a_frame_that_cannot_be_read_is_not_recompressed() {
    // Of another dictionary, and of a document that is none.
    let unknown = vec![0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 0, 1, 0, 0];
    let no_document = dictionary::FrameWriter::new(3)
        .unwrap()
        .compress(&[2, 0xff, 0xff]);
    for frame in [unknown, no_document.unwrap()] {
        let dir = tempfile::tempdir().unwrap();
        let corpus = Corpus::open(dir.path()).unwrap();
        corpus.append(&parts(1, 14)[0]).unwrap();
        let segment = segments(dir.path()).remove(0);
        let mut bytes = fs::read(&segment).unwrap();
        bytes.extend(block::encoded(&[7], &frame, false));
        fs::write(&segment, &bytes).unwrap();
        let damaged = Compacted {
            damaged: 1,
            ..Compacted::default()
        };
        assert_eq!(compact(dir.path(), true).unwrap(), damaged);
        assert_eq!(fs::read(&segment).unwrap(), bytes);
    }
}

#[test]
fn names_with_a_path_and_hidden_names_are_no_segments() {
    for (name, expected) in [
        ("1-a.traces.zst", true),
        (".1-a.traces.zst", false),
        ("elsewhere/1-a.traces.zst", false),
        ("1-a.traces.zst.tmp", false),
    ] {
        assert_eq!(is_segment_name(name), expected, "{name}");
    }
}

#[test]
fn a_segment_that_another_process_recompresses_is_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    corpus.append(&parts(1, 15)[0]).unwrap();
    let other = fs::File::open(&segments(dir.path())[0]).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    assert_eq!(compact(dir.path(), true).unwrap(), Compacted::default());
    drop(other);
    assert_eq!(compact(dir.path(), true).unwrap().segments, 1);
}

#[test]
fn a_reader_waits_for_an_append() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    corpus.append(&parts(1, 16)[0]).unwrap();
    let segment = segments(dir.path()).remove(0);
    let appender = fs::File::open(dir.path().join(".lock")).unwrap();
    flock(&appender, FlockOperation::LockExclusive).unwrap();
    let (opened, is_open) = mpsc::channel();
    let reader = std::thread::spawn(move || opened.send(segment::open(&segment).is_ok()));
    // A reader that does not wait is found here; one that waits is never taken for it.
    assert!(is_open.recv_timeout(Duration::from_millis(100)).is_err());
    drop(appender);
    assert!(is_open.recv().unwrap());
    reader.join().unwrap().unwrap();
}

#[test]
fn a_block_after_a_gap_is_found_across_two_reads() {
    let frame = dictionary::FrameWriter::new(3).unwrap().compress(b"").unwrap();
    let block = block::encoded(&[7], &frame, false);
    for before in limits::READ_BYTES - 5..limits::READ_BYTES + 2 {
        let mut bytes = vec![0; before];
        bytes.extend(&block);
        let mut reader = SegmentReader::new(&bytes[..]);
        let gap = reader.next_item().unwrap();
        assert!(
            matches!(gap, Some(Item::Gap(Gap { is_tail: false, .. }))),
            "{before}"
        );
        let next = reader.next_item().unwrap();
        assert!(matches!(next, Some(Item::Block(_))), "{before}");
    }
}

#[test]
fn a_corpus_is_its_owner_s_alone() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    let corpus = Corpus::open(&deep).unwrap();
    corpus.append(&parts(1, 1)[0]).unwrap();
    compact(&deep, true).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&deep), 0o700);
    for entry in fs::read_dir(&deep).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::File::create(&file).unwrap().write_all(b"x").unwrap();
    let error = Corpus::open(&file).unwrap_err();
    assert!(matches!(error, CorpusError::MakeDirectory { .. }), "{error}");
    // Root may write anywhere.
    if !rustix::process::geteuid().is_root() {
        let closed = dir.path().join("closed");
        // With its lock, which could be opened.
        Corpus::open(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        assert!(matches!(Corpus::open(&closed), Err(CorpusError::Write { .. })));
    }
}

#[test]
fn a_frame_with_another_dictionary_says_so() {
    let frame = FrameReader::default().decompress(
        // A frame header that names dictionary 7 (RFC 8878, section 3.1.1.1), and an empty block.
        &[0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 0, 1, 0, 0],
        &mut Vec::new(),
    );
    assert_eq!(frame, Err(dictionary::FrameError::UnknownDictionary { id: 7 }));
    let message = dictionary::FrameError::UnknownDictionary { id: 7 }.to_string();
    assert!(message.contains("dictionary 7"), "{message}");
}

#[test]
fn a_frame_and_a_trace_beyond_the_limit_are_refused() {
    let longer = vec![0; limits::FRAME_BYTES_MAX + 1];
    let frame = dictionary::FrameWriter::new(1)
        .unwrap()
        .compress(&longer)
        .unwrap();
    let refused = FrameReader::default().decompress(&frame, &mut Vec::new());
    let len = longer.len() as u64;
    assert_eq!(refused, Err(dictionary::FrameError::TooLong { len }));

    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    let mut part = parts(1, 3).remove(0);
    part.groups[0].spans[0].name = "n".repeat(limits::FRAME_BYTES_MAX).into();
    let refused = corpus.append(&part).unwrap_err();
    assert!(matches!(refused, CorpusError::TooLong { .. }), "{refused}");
    assert_eq!(segments(dir.path()), [""; 0].map(PathBuf::from));
}

#[test]
fn a_block_of_a_newer_version_is_a_gap_that_names_the_version() {
    let parts = parts(2, 13);
    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    corpus.append(&parts[0]).unwrap();
    let segment = segments(dir.path()).remove(0);
    let first = fs::metadata(&segment).unwrap().len();
    corpus.append(&parts[1]).unwrap();
    let mut newer = fs::read(&segment).unwrap();
    newer[11] += 1;
    fs::write(&segment, &newer).unwrap();
    let (found, gaps) = read(std::slice::from_ref(&segment));
    let gap = Gap {
        offset: 0,
        len: first,
        is_tail: false,
        version: Some(2),
    };
    assert_eq!((found, gaps), (expected(&parts[1..]), vec![gap]));
    assert_eq!(compact(dir.path(), true).unwrap().damaged, 1);
    assert_eq!(fs::read(&segment).unwrap(), newer, "a newer version can read it");
}

#[test]
fn the_dictionaries_have_ids_and_fit() {
    let ids: Vec<_> = dictionary::DICTIONARIES
        .iter()
        .map(|one| dictionary::id(one))
        .collect();
    assert!(ids.iter().all(|id| *id != 0), "{ids:?}");
    assert!(dictionary::DICTIONARIES.iter().all(|one| one.len() <= 112 * 1024));
}

#[test]
fn a_lost_name_of_the_active_segment_begins_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    let parts = parts(3, 8);
    corpus.append(&parts[0]).unwrap();
    let lock = dir.path().join(".lock");
    fs::write(&lock, [0xff; 40]).unwrap();
    corpus.append(&parts[1]).unwrap();
    assert_eq!(segments(dir.path()).len(), 2);
    let active = fs::read_to_string(&lock).unwrap();
    fs::remove_file(dir.path().join(active)).unwrap();
    corpus.append(&parts[2]).unwrap();
    let found = segments(dir.path());
    assert_eq!(found.len(), 2);
    assert_eq!(read(&found).0, expected(&[parts[0].clone(), parts[2].clone()]));
    // A name with a path is no segment of this corpus.
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    let file = dir.path().join("elsewhere/a.traces.zst");
    fs::write(&file, "").unwrap();
    fs::write(&lock, "elsewhere/a.traces.zst").unwrap();
    corpus.append(&parts[1]).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"");
    assert_eq!(read(&segments(dir.path())).0, expected(&parts));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_order_of_appends_rotations_and_recompressions_keeps_every_trace(
        steps in prop::collection::vec((0u8..8, 500u64..20_000), 1..60), seed in any::<u64>()
    ) {
        let dir = tempfile::tempdir().unwrap();
        let parts = parts(steps.len(), seed);
        let mut appended = Vec::new();
        for ((step, segment_bytes), part) in steps.iter().zip(&parts) {
            match step {
                0 => drop(compact(dir.path(), false).unwrap()),
                1 => drop(compact(dir.path(), true).unwrap()),
                _ => {
                    let corpus = Corpus::open(dir.path()).unwrap().with_segment_bytes(*segment_bytes);
                    corpus.append(part).unwrap();
                    appended.push(part.clone());
                }
            }
        }
        prop_assert_eq!(read(&segments(dir.path())), (expected(&appended), vec![]));
    }
}
