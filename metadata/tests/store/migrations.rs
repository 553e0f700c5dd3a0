//! Migrations from every released schema to the current one.

use std::fs;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use baton_metadata::store::query::HistoryQuery;
use baton_metadata::store::sqlite::{MIGRATIONS, VERSION};
use baton_trace::outcome::Fault;
use rusqlite::Connection;

use crate::support::{ME, TestStateDirectory, integrity, key, ok, started, thread_key, titled, write};

/// The path of a database of this version, as SQL: its schema and some records. It is released with the version and
/// never edited.
fn fixture(version: i32) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store/fixtures")).join(format!("{version}.sql"))
}

/// With `BATON_BLESS=1`, writes the fixture of a new version once, before any of the concurrent tests reads it.
fn bless() {
    static BLESSED: Once = Once::new();
    BLESSED.call_once(|| {
        if std::env::var("BATON_BLESS").is_ok_and(|value| value == "1") && !fixture(VERSION).exists() {
            let state = TestStateDirectory::new();
            sample(&state);
            let connection = Connection::open(state.database()).unwrap();
            fs::write(fixture(VERSION), dump(&connection)).unwrap();
        }
    });
}

pub(crate) fn restore(version: i32, state: &TestStateDirectory) {
    bless();
    let sql = fs::read_to_string(fixture(version)).unwrap_or_else(|error| {
        panic!("schema {version} has no fixture ({error}): BATON_BLESS=1 writes that of the current version")
    });
    drop(state.open());
    fs::remove_file(state.database()).unwrap();
    let connection = Connection::open(state.database()).unwrap();
    connection.execute_batch(&sql).unwrap();
}

fn schema(connection: &Connection) -> Vec<String> {
    let mut all = connection
        .prepare("select sql from sqlite_schema where sql is not null order by name")
        .unwrap();
    all.query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// The SQL that recreates the database.
fn dump(connection: &Connection) -> String {
    let mut sql = String::new();
    for pragma in ["application_id", "user_version", "auto_vacuum"] {
        let value: i32 = connection
            .pragma_query_value(None, pragma, |row| row.get(0))
            .unwrap();
        sql += &format!("pragma {pragma} = {value};\n");
    }
    let mut tables = connection
        .prepare("select name, sql, type from sqlite_schema where sql is not null order by type = 'index', type = 'view', rowid")
        .unwrap();
    let tables = tables
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    for table in tables {
        let (name, create, kind): (String, String, String) = table.unwrap();
        sql += &format!("{create};\n");
        if kind != "table" {
            continue;
        }
        let columns: Vec<String> = connection
            .prepare("select name from pragma_table_info(?1)")
            .unwrap()
            .query_map([&name], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let quoted = columns
            .iter()
            .map(|column| format!("quote({column})"))
            .collect::<Vec<_>>()
            .join(" || ',' || ");
        let mut rows = connection
            .prepare(&format!("select {quoted} from {name}"))
            .unwrap();
        for row in rows.query_map([], |row| row.get::<_, String>(0)).unwrap() {
            sql += &format!("insert into {name} values ({});\n", row.unwrap());
        }
    }
    sql
}

/// Writes records of every kind.
fn sample(state: &TestStateDirectory) {
    let mut opened = state.open();
    let mut thread = titled("a thread", "its title");
    thread.values.insert("key".into(), Some("value".into()));
    write(&mut opened.store, [thread]);
    let mut running = started(2);
    let start = Arc::make_mut(running.start.as_mut().unwrap());
    start.turn = NonZeroU64::new(7);
    start.step = Some("a step".into());
    write(&mut opened.store, [ok(1), running]);
    let connection = Connection::open(state.database()).unwrap();
    // Removes the values of this machine.
    connection
        .execute_batch("update lives set boot_id = zeroblob(16), os_pid = 1, start_ticks = 1")
        .unwrap();
}

#[test]
fn every_released_schema_has_a_fixture_and_reaches_this_one() {
    let fresh = TestStateDirectory::new();
    sample(&fresh);
    let fresh = Connection::open(fresh.database()).unwrap();
    for version in 1..=VERSION {
        let state = TestStateDirectory::new();
        restore(version, &state);
        let mut opened = state.open();
        assert_eq!((&opened.set_aside, opened.recovered.lost), (&None, 1));
        // Its records are kept, and it accepts new ones.
        assert_eq!(
            opened.reader.process(&key(1)).unwrap().unwrap().patch.end,
            ok(1).end
        );
        let running = opened
            .reader
            .process(&key(2))
            .unwrap()
            .unwrap()
            .patch
            .start
            .unwrap();
        let (turn, step) = (running.turn.map(NonZeroU64::get), running.step.as_deref());
        match version {
            ..5 => assert_eq!((turn, step), (None, None)),
            5.. => assert_eq!((turn, step), (Some(7), Some("a step"))),
        }
        let thread = opened.reader.thread(&thread_key("a thread")).unwrap().unwrap();
        assert_eq!(
            (thread.title.as_deref(), &*thread.values["key"]),
            (Some("its title"), "value")
        );
        write(&mut opened.store, [ok(3)]);
        assert_eq!(
            opened.reader.history(&HistoryQuery::of(ME)).unwrap().items.len(),
            3
        );
        drop(opened);
        assert_eq!(integrity(&state.database()), "ok");
        let connection = Connection::open(state.database()).unwrap();
        assert_eq!(
            connection.pragma_query_value(None, "user_version", |row| row.get(0)),
            Ok(VERSION)
        );
        assert_eq!(schema(&connection), schema(&fresh), "from {version}");
    }
}

#[test]
fn a_released_schema_was_not_edited() {
    for version in 1..=VERSION {
        let state = TestStateDirectory::new();
        restore(version, &state);
        let made = Connection::open_in_memory().unwrap();
        for migration in &MIGRATIONS[..usize::try_from(version).unwrap()] {
            made.execute_batch(migration).unwrap();
        }
        let restored = Connection::open(state.database()).unwrap();
        assert_eq!(
            schema(&restored),
            schema(&made),
            "schema/{version}.sql differs from what was released: add a new one"
        );
    }
}

#[test]
fn older_records_have_the_fault_that_they_tell_and_their_cancellations_are_no_failures() {
    let state = TestStateDirectory::new();
    restore(6, &state);
    let connection = Connection::open(state.database()).unwrap();
    // Each is a copy of an ended record, with another id and another end.
    let older = [
        ("killed", Some("reset"), Some(Fault::Caller), false),
        ("killed", Some("shut_down"), Some(Fault::Server), true),
        ("killed", None, Some(Fault::Unknown), true),
        ("timed_out", None, Some(Fault::Limit), true),
        ("failed_to_start", None, Some(Fault::Unknown), true),
        ("lost", None, Some(Fault::Server), true),
    ];
    for (n, (outcome, call_end, ..)) in (10_u64..).zip(older) {
        connection
            .execute(
                "insert into processes (owner, id, begun_ns, life, parameters, ended_ns, outcome, failed, call_end)
                select owner, ?1, begun_ns, life, parameters, ended_ns, ?2, 1, ?3 from processes where n = 1",
                (key(n).process_id.0, outcome, call_end),
            )
            .unwrap();
    }
    drop(connection);
    let opened = state.open();
    let ids = |query: HistoryQuery| -> Vec<_> {
        let found = opened.reader.history(&query).unwrap().items;
        found.iter().map(|record| record.patch.key.process_id).collect()
    };
    let failed = ids(HistoryQuery {
        failed: true,
        ..HistoryQuery::of(ME)
    });
    for (n, (outcome, call_end, fault, is_failure)) in (10_u64..).zip(older) {
        let (id, record) = (
            key(n).process_id,
            opened.reader.process(&key(n)).unwrap().unwrap(),
        );
        let told = record.patch.end.unwrap().outcome;
        assert_eq!((told.as_str(), told.fault()), (outcome, fault), "{call_end:?}");
        assert_eq!(failed.contains(&id), is_failure, "{outcome} {call_end:?}");
        for asked in Fault::ALL {
            let of_fault = ids(HistoryQuery {
                faults: vec![asked],
                ..HistoryQuery::of(ME)
            });
            assert_eq!(
                of_fault.contains(&id),
                fault == Some(asked),
                "{outcome} {call_end:?} {asked}"
            );
        }
    }
}
