//! The spool on a real disk.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use opentelemetry_sdk::Resource;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::geteuid;
use tempfile::TempDir;

use super::*;
use crate::outbox::Outbox;
use crate::outbox::tests::{call, settings};

/// A request of five spans.
pub(crate) fn request() -> EncodedRequest {
    let outbox = Outbox::new(&settings(&[]), Resource::builder_empty().build());
    outbox.push(call());
    outbox.next().unwrap()
}

pub(crate) fn spool(dir: &TempDir) -> Spool {
    Spool::new(dir.path().join("state/baton/spool"), &settings(&[]))
}

/// Writes a file as a run does that ends then.
pub(crate) fn write(spool: &Spool, requests: &[EncodedRequest]) -> PruneReport {
    spool.write(requests).unwrap().1
}

/// Names of the files for this destination.
pub(crate) fn files(spool: &Spool) -> Vec<String> {
    let look = spool.look().unwrap();
    look.map_or(Vec::new(), |(_, names)| {
        names.iter().map(SpoolFileName::to_string).collect()
    })
}

fn read(spool: &Spool) -> Vec<OpenedFile> {
    let (directory, names) = spool.look().unwrap().unwrap();
    let read = names
        .iter()
        .map(|name| directory.read(&name.to_string()).unwrap());
    read.collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_holds_what_was_written_and_is_its_owner_s_alone() {
    let dir = TempDir::new().unwrap();
    let spool = spool(&dir);
    assert!(spool.look().unwrap().is_none());
    let two = [request(), request()];
    assert_eq!(write(&spool, &two), PruneReport::default());
    let [name] = &files(&spool)[..] else { panic!() };
    assert_eq!(mode(spool.path()), 0o700);
    assert_eq!(mode(&spool.path().join(name)), 0o600);
    assert_eq!(SpoolFileName::parse(name).unwrap().spans, 10);
    let [OpenedFile::Read(file, _)] = &read(&spool)[..] else {
        panic!()
    };
    let content = SpoolContent::read(file.clone());
    assert_eq!((&content.requests[..], content.is_damaged), (&two[..], false));
}

#[test]
fn a_file_is_nobody_else_s_while_its_writer_lives_or_another_reads_it() {
    let dir = TempDir::new().unwrap();
    let spool = spool(&dir);
    let (written, _) = spool.write(&[request()]).unwrap();
    assert!(matches!(read(&spool)[..], [OpenedFile::Taken]));
    drop(written);
    let held = read(&spool);
    assert!(matches!(held[..], [OpenedFile::Read(..)]));
    assert!(matches!(read(&spool)[..], [OpenedFile::Taken]));
    drop(held);
    let (written, _) = spool.write(&[request()]).unwrap();
    written.remove();
    assert!(matches!(read(&spool)[..], [OpenedFile::Read(..)]));
}

#[test]
fn another_collector_or_tenant_does_not_get_it() {
    let dir = TempDir::new().unwrap();
    let spool = spool(&dir);
    write(&spool, &[request()]);
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://elsewhere:4317"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=other"),
    ] {
        let other = Spool::new(spool.path().to_owned(), &settings(&[(variable, value)]));
        assert_eq!(files(&other), [""; 0], "{variable}");
    }
    assert_eq!(files(&spool).len(), 1);
    let shown = format!("{spool:?}");
    let headers = [("OTEL_EXPORTER_OTLP_HEADERS", "x-token=secret")];
    let secret = Spool::new(spool.path().to_owned(), &settings(&headers));
    assert!(!format!("{secret:?}").contains("secret") && !shown.contains("secret"));
}

#[test]
fn the_oldest_go_for_new_ones_and_are_counted() {
    let dir = TempDir::new().unwrap();
    let spool = spool(&dir);
    let large = |spans| EncodedRequest {
        bytes: vec![0; 5 * 1024 * 1024].into(),
        spans,
    };
    for spans in [1, 2, 3] {
        assert_eq!(write(&spool, &[large(spans)]).spans, 0);
        // Names of one millisecond sort by random.
        let before = now_ms();
        while now_ms() == before {
            std::hint::spin_loop();
        }
    }
    assert_eq!(write(&spool, &[large(4)]).spans, 1);
    assert_eq!(write(&spool, &[large(5), large(5)]).spans, 2 + 3);
    let left: u64 = files(&spool)
        .iter()
        .map(|name| SpoolFileName::parse(name).unwrap().bytes)
        .sum();
    assert!(left <= SPOOL_BYTES_MAX && left > 10 * 1024 * 1024, "{left}");
    let too_much = [large(1), large(1), large(1), large(1)];
    assert!(matches!(spool.write(&too_much), Err(SpoolError::TooMuch { .. })));
}

#[test]
fn seven_days_or_4096_files_are_the_most_whoever_they_are_for() {
    let dir = TempDir::new().unwrap();
    let spool = spool(&dir);
    write(&spool, &[request()]);
    let (directory, _) = spool.look().unwrap().unwrap();
    let week_ms = SPOOL_AGE_MAX.as_millis() as u64;
    let old = |at_ms| SpoolFileName {
        at_ms,
        destination: 7,
        spans: 100,
        bytes: 1,
        random: 0,
    };
    for age_ms in [week_ms + 60_000, week_ms - 60_000] {
        directory
            .write(&old(now_ms() - age_ms).to_string(), b"x")
            .unwrap();
    }
    let pruned = write(&spool, &[request()]);
    assert_eq!(pruned.spans, 100);
    assert!(pruned.oldest_ms.unwrap() < now_ms() - week_ms + 120_000);
    for at_ms in 0..SPOOL_FILES_MAX as u64 {
        directory
            .write(&old(now_ms() - 1_000_000 + at_ms).to_string(), b"x")
            .unwrap();
    }
    // Two of ours, the new one and the one of nearly seven days are four more than there may be.
    assert_eq!(write(&spool, &[request()]).spans, 400);
    assert_eq!(directory.names().unwrap().len(), SPOOL_FILES_MAX);
    assert_eq!(files(&spool).len(), 3);
}

#[test]
fn a_directory_of_another_user_or_open_to_others_or_behind_a_link_is_not_used() {
    let dir = TempDir::new().unwrap();
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
    let foreign = if geteuid().is_root() {
        let foreign = dir.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::set_permissions(&foreign, Permissions::from_mode(0o700)).unwrap();
        chown(&foreign, Some(1), None).unwrap();
        foreign
    } else {
        PathBuf::from("/")
    };
    let link = dir.path().join("link");
    let own = dir.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, Permissions::from_mode(0o700)).unwrap();
    symlink(&own, &link).unwrap();
    let tried = |path: &Path| {
        let spool = Spool::new(path.to_owned(), &settings(&[]));
        let error = spool.write(&[request()]).unwrap_err();
        assert!(spool.look().is_err());
        error
    };
    assert!(matches!(tried(&open), SpoolError::Open { .. }));
    assert!(matches!(tried(&foreign), SpoolError::Foreign { .. }));
    assert!(matches!(tried(&link), SpoolError::Io { .. }));
    assert_eq!(fs::read_dir(&own).unwrap().count(), 0);
}

#[test]
fn what_is_no_file_of_ours_is_seen_and_never_followed() {
    let dir = TempDir::new().unwrap();
    let spool = spool(&dir);
    write(&spool, &[request()]);
    let [ours] = &files(&spool)[..] else { panic!() };
    let (directory, _) = spool.look().unwrap().unwrap();
    let name = |at_ms| {
        let of_ours = SpoolFileName::parse(ours).unwrap();
        SpoolFileName { at_ms, ..of_ours }.to_string()
    };
    let elsewhere = dir.path().join("elsewhere");
    fs::copy(spool.path().join(ours), &elsewhere).unwrap();
    symlink(&elsewhere, spool.path().join(name(1))).unwrap();
    fs::create_dir(spool.path().join(name(2))).unwrap();
    mknodat(CWD, spool.path().join(name(3)), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let large = fs::File::create(spool.path().join(name(4))).unwrap();
    large.set_len(SPOOL_BYTES_MAX + 1).unwrap();
    let is = |at_ms, expected| {
        let opened = directory.read(&name(at_ms)).unwrap();
        assert!(
            matches!(opened, OpenedFile::Bad(found) if found == expected),
            "{opened:?}"
        );
    };
    is(1, SpoolFault::Link);
    is(2, SpoolFault::NoFile);
    is(3, SpoolFault::NoFile);
    is(4, SpoolFault::Damaged);
    if geteuid().is_root() {
        fs::write(spool.path().join(name(5)), b"x").unwrap();
        chown(spool.path().join(name(5)), Some(1), None).unwrap();
        is(5, SpoolFault::Foreign);
    }
    directory.remove(&name(1)).unwrap();
    assert!(elsewhere.exists());
}

#[test]
fn what_a_crash_left_half_written_goes_and_what_is_being_written_stays() {
    let dir = TempDir::new().unwrap();
    let spool = spool(&dir);
    write(&spool, &[request()]);
    let part = |name: &str, age: std::time::Duration| {
        let path = spool.path().join(name);
        let file = fs::File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        path
    };
    let left = part(".1-1-1-1-1.otlp.part", SPOOL_PART_AGE_MAX * 2);
    let under_way = part(".2-1-1-1-1.otlp.part", SPOOL_PART_AGE_MAX / 2);
    write(&spool, &[request()]);
    assert!(!left.exists() && under_way.exists());
    assert_eq!(files(&spool).len(), 2);
}
