//! Opening a state directory: what is refused, what is set aside, and that other files stay unchanged.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use baton_metadata::Store;
use baton_metadata::store::query::FoundRecords;
use baton_metadata::store::sqlite::{self, APPLICATION_ID, OpenError, VERSION};
use baton_trace::stage::{self, Component, StageDef, StageId, StageKind};
use rusqlite::Connection;

use crate::support::{ME, TestStateDirectory, batch, id, ids, integrity, ok, write};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// Names and contents of all files.
fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .filter(|(name, _)| name != "lock")
        .collect();
    files.sort();
    files
}

#[test]
fn the_directory_and_every_file_in_it_is_the_owner_s_alone() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(&mut opened.store, [ok(1)]);
    assert_eq!(mode(&state.path()), 0o700);
    let files: Vec<_> = fs::read_dir(state.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
    // Wider permissions are reset.
    drop(opened);
    fs::set_permissions(state.database(), PermissionsExt::from_mode(0o644)).unwrap();
    drop(state.open());
    assert_eq!(mode(&state.database()), 0o600);
}

#[test]
fn a_database_whose_creation_was_interrupted_is_recreated() {
    // At each step of the creation that has a journal, as after SIGKILL.
    let made = TestStateDirectory::new();
    fs::create_dir(made.path()).unwrap();
    fs::set_permissions(made.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let journal = made.path().join("baton.db-journal");
    let connection = Connection::open(made.database()).unwrap();
    connection
        .execute_batch("pragma auto_vacuum = incremental; begin immediate")
        .unwrap();
    connection
        .execute_batch("create table begun (a); pragma cache_spill = 1")
        .unwrap();
    connection.cache_flush().unwrap();
    assert!(journal.exists());
    let state = TestStateDirectory::new();
    fs::create_dir(state.path()).unwrap();
    fs::set_permissions(state.path(), PermissionsExt::from_mode(0o700)).unwrap();
    for file in ["baton.db", "baton.db-journal"] {
        fs::copy(made.path().join(file), state.path().join(file)).unwrap();
    }
    let opened = state.open();
    assert_eq!(opened.set_aside, None);
    drop(opened);
    assert_eq!(integrity(&state.database()), "ok");
    assert!(!state.path().join("baton.db-journal").exists());
}

#[test]
fn a_second_exec_server_is_refused_by_name_and_pid() {
    let state = TestStateDirectory::new();
    let first = state.open();
    let error = state.try_open().unwrap_err();
    let OpenError::InUse {
        holder: Some(holder), ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (holder.pid, &*holder.name),
        (std::process::id(), "exec-server of the test")
    );
    let pid = format!("exec-server of the test (pid {})", std::process::id());
    assert!(error.to_string().contains(&pid), "{error}");
    drop(first);
    state.open();
}

#[test]
fn committed_records_survive_a_restart() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(&mut opened.store, [ok(1), ok(2)]);
    drop(opened);
    let opened = state.open();
    assert_eq!(ids(&opened), [id(2), id(1)]);
    assert_eq!((opened.set_aside, opened.recovered.lost), (None, 0));
}

#[test]
fn a_newer_version_is_refused_and_unchanged() {
    let state = TestStateDirectory::new();
    drop(state.open());
    let newer = Connection::open(state.database()).unwrap();
    newer.pragma_update(None, "user_version", VERSION + 1).unwrap();
    newer.close().unwrap();
    let before = contents(&state.path());
    let error = state.try_open().unwrap_err();
    let OpenError::Newer { found, known, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((found, known), (VERSION + 1, VERSION));
    assert!(error.to_string().contains("run the newer baton"), "{error}");
    assert!(before == contents(&state.path()));
}

#[test]
fn a_newer_version_that_is_only_in_the_log_is_refused_too() {
    let state = TestStateDirectory::new();
    drop(state.open());
    // As after a kill in a migration: the main file still has the old version.
    let newer = Connection::open(state.database()).unwrap();
    newer
        .execute_batch("pragma journal_mode = wal; pragma wal_autocheckpoint = 0")
        .unwrap();
    newer.pragma_update(None, "user_version", VERSION + 1).unwrap();
    let log = fs::read(state.path().join("baton.db-wal")).unwrap();
    let main = fs::read(state.database()).unwrap();
    newer.close().unwrap();
    fs::write(state.path().join("baton.db-wal"), log).unwrap();
    fs::write(state.database(), main).unwrap();
    let before = contents(&state.path());
    let error = state.try_open().unwrap_err();
    assert!(matches!(error, OpenError::Newer { .. }), "{error}");
    assert!(before == contents(&state.path()));
}

#[test]
fn a_database_of_another_program_is_refused_and_unchanged() {
    for application_id in [0, 0x1234] {
        let state = TestStateDirectory::new();
        drop(state.open());
        fs::remove_file(state.database()).unwrap();
        let other = Connection::open(state.database()).unwrap();
        other.execute_batch("create table theirs (a)").unwrap();
        other
            .pragma_update(None, "application_id", application_id)
            .unwrap();
        other.close().unwrap();
        let before = contents(&state.path());
        let error = state.try_open().unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert!(before == contents(&state.path()));
    }
}

#[test]
fn an_empty_database_is_migrated() {
    let state = TestStateDirectory::new();
    drop(state.open());
    fs::write(state.database(), b"").unwrap();
    drop(state.open());
    // As after a kill between SQLite's header and the first migration.
    fs::remove_file(state.database()).unwrap();
    let begun = Connection::open(state.database()).unwrap();
    begun
        .execute_batch("pragma auto_vacuum = incremental; pragma journal_mode = wal")
        .unwrap();
    drop(begun);
    let mut opened = state.open();
    assert_eq!(opened.set_aside, None);
    write(&mut opened.store, [ok(1)]);
}

/// Damages a database of a few hundred records. Checks that it is set aside and that a new database works.
fn is_set_aside(damage: impl FnOnce(&Path)) {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    for n in 0..20 {
        write(&mut opened.store, (20 * n..20 * (n + 1)).map(ok));
    }
    drop(opened);
    damage(&state.database());
    let damaged = fs::read(state.database()).unwrap();
    let mut opened = state.open();
    let aside = opened.set_aside.clone().expect("set aside");
    assert_eq!(fs::read(&aside.path).unwrap(), damaged, "kept as it was");
    let name = aside.path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("baton.db.damaged-2"), "{name}");
    assert!(!aside.reason.is_empty());
    let message = aside.to_string();
    assert!(
        message.lines().count() == 1 && message.contains("sqlite3 FILE .recover"),
        "{message}"
    );
    assert_eq!(ids(&opened), []);
    write(&mut opened.store, [ok(1)]);
    drop(opened);
    let opened = state.open();
    assert_eq!((ids(&opened), opened.set_aside), (vec![id(1)], None));
    assert_eq!(integrity(&state.database()), "ok");
}

#[test]
fn a_file_that_is_not_a_database_is_set_aside() {
    is_set_aside(|path| fs::write(path, b"# notes\n").unwrap());
}

#[test]
fn a_file_full_of_zeroes_is_set_aside() {
    is_set_aside(|path| fs::write(path, vec![0; 40_960]).unwrap());
}

#[test]
fn a_truncated_file_is_set_aside() {
    is_set_aside(|path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2 / 4096 * 4096)
            .unwrap();
    });
}

#[test]
fn a_file_with_torn_pages_is_set_aside() {
    is_set_aside(|path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        for page in 4..20 {
            file.write_all_at(&[0xa5; 512], page * 4096).unwrap();
        }
    });
}

#[test]
fn a_torn_log_loses_only_unacknowledged_records() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(&mut opened.store, [ok(1)]);
    let log = state.path().join("baton.db-wal");
    let acknowledged = fs::metadata(&log).unwrap().len();
    write(&mut opened.store, [ok(2)]);
    // As after a power failure during the second commit.
    let mut bytes = fs::read(&log).unwrap();
    for byte in &mut bytes[usize::try_from(acknowledged).unwrap() + 100..] {
        *byte = 0x5a;
    }
    let main = fs::read(state.database()).unwrap();
    drop(opened);
    fs::write(&log, bytes).unwrap();
    fs::write(state.database(), main).unwrap();
    let opened = state.open();
    assert_eq!((ids(&opened), opened.set_aside.clone()), (vec![id(1)], None));
}

#[test]
fn a_log_without_its_database_is_not_applied_to_the_new_one() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(&mut opened.store, [ok(1)]);
    let log = fs::read(state.path().join("baton.db-wal")).unwrap();
    drop(opened);
    fs::remove_file(state.database()).unwrap();
    fs::write(state.path().join("baton.db-wal"), &log).unwrap();
    let opened = state.open();
    assert_eq!(ids(&opened), []);
    let aside = opened.set_aside.unwrap();
    let mut kept = aside.path.into_os_string();
    kept.push("-wal");
    assert!(fs::read(kept).unwrap() == log);
}

#[test]
fn two_databases_set_aside_in_one_second_have_two_names() {
    let state = TestStateDirectory::new();
    drop(state.open());
    let mut names = Vec::new();
    for _ in 0..3 {
        fs::write(state.database(), b"no database").unwrap();
        names.push(state.open().set_aside.unwrap().path);
    }
    names.dedup();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().all(|name| name.exists()));
}

#[test]
fn a_database_that_is_damaged_in_use_is_set_aside() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let damaged = opened.store.damaged_databases();
    for n in 0..20 {
        write(&mut opened.store, (20 * n..20 * (n + 1)).map(ok));
    }
    // Damages the file on disk, and makes SQLite drop its cached pages.
    let connection = Connection::open(state.database()).unwrap();
    connection
        .execute_batch("pragma wal_checkpoint(truncate)")
        .unwrap();
    let size = fs::metadata(state.database()).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(state.database()).unwrap();
    for page in 2..size / 4096 {
        file.write_all_at(&[0xa5; 64], page * 4096).unwrap();
    }
    connection.execute_batch("pragma user_version = 1").unwrap();
    drop(connection);
    write(&mut opened.store, [ok(1_000)]);
    let aside = damaged.take();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(aside[0].path.exists());
    // Readers use the new database, which has the current epoch.
    assert_eq!(ids(&opened), [id(1_000)]);
    assert_eq!(damaged.take(), []);
    drop(opened);
    assert_eq!(integrity(&state.database()), "ok");
}

#[test]
fn a_database_that_is_removed_in_use_is_recreated() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(&mut opened.store, [ok(1)]);
    fs::remove_file(state.database()).unwrap();
    write(&mut opened.store, [ok(2)]);
    assert_eq!(ids(&opened), [id(2)]);
    drop(opened);
    assert_eq!(ids(&state.open()), [id(2)]);
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let state = TestStateDirectory::new();
    fs::create_dir(state.path()).unwrap();
    fs::set_permissions(state.path(), PermissionsExt::from_mode(0o770)).unwrap();
    let error = state.try_open().unwrap_err();
    assert!(
        matches!(error, OpenError::OpenToOthers { mode: 0o770, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("chmod go-w"), "{error}");
    // Permission to list is allowed.
    fs::set_permissions(state.path(), PermissionsExt::from_mode(0o755)).unwrap();
    state.open();
}

#[test]
fn an_unwritable_directory_and_a_file_are_different_errors() {
    let state = TestStateDirectory::new();
    // A directory of sysfs, in which even root cannot create a directory.
    let mut options = state.options();
    options.directory = "/sys/kernel/baton-state".into();
    let error = sqlite::open(&options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("--state none"), "{error}");
    // A file instead of a directory.
    fs::write(state.directory.path().join("file"), b"").unwrap();
    options.directory = state.directory.path().join("file");
    let error = sqlite::open(&options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("it is not a directory"), "{error}");
}

#[test]
fn a_symbolic_link_instead_of_the_database_is_not_followed() {
    let state = TestStateDirectory::new();
    drop(state.open());
    fs::remove_file(state.database()).unwrap();
    let target = state.directory.path().join("precious");
    fs::write(&target, b"").unwrap();
    std::os::unix::fs::symlink(&target, state.database()).unwrap();
    let error = state.try_open().unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert_eq!(fs::read(target).unwrap(), b"");
}

#[test]
fn the_file_has_its_application_id_and_incremental_vacuum() {
    let state = TestStateDirectory::new();
    let opened = state.open();
    let connection = Connection::open(state.database()).unwrap();
    let pragma = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .unwrap()
    };
    assert_eq!(pragma("application_id"), APPLICATION_ID);
    assert_eq!(pragma("user_version"), VERSION);
    assert_eq!(pragma("auto_vacuum"), 2, "incremental");
    let journal: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(journal, "wal");
    assert_eq!(opened.reader.find(ME, "ff").unwrap(), FoundRecords::Nothing);
}

#[test]
fn only_an_epoch_that_shut_down_has_an_end() {
    let state = TestStateDirectory::new();
    drop(state.open());
    let mut killed = state.open();
    killed.store.write(&batch([ok(1)])).unwrap();
    let connection = Connection::open(state.database()).unwrap();
    let mut lives = connection
        .prepare("select ended_ns is not null from lives where os_pid = ?1 order by life")
        .unwrap();
    let ended: Vec<bool> = lives
        .query_map([std::process::id()], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(ended, [true, false]);
}

#[test]
fn a_registered_stage_is_named_in_the_table_of_stages() {
    static STAGES: [StageDef; 1] = [StageDef {
        id: StageId(192),
        name: "test.lookup",
        parent: Some(stage::transport::RPC),
        kind: StageKind::Internal,
        from: "handler starts",
        to: "status found",
        exporter: Component::Server,
        covers: true,
    }];
    stage::register(&STAGES).unwrap();
    let state = TestStateDirectory::new();
    drop(state.open());
    let connection = Connection::open(state.database()).unwrap();
    let name: String = connection
        .query_row("select name from stages where stage = 192", [], |row| row.get(0))
        .unwrap();
    assert_eq!(name, "test.lookup");
}
