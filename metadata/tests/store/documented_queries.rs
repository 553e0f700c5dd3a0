//! The queries and the schema in `docs/METADATA.md`.

use rusqlite::{Connection, OpenFlags};

use baton_metadata::store::sqlite::VERSION;
use baton_trace::outcome::{Loss, Outcome};

use crate::support::{TestStateDirectory, end, finished, ok, started, titled, write};

const PAGE: &str = include_str!("../../../docs/METADATA.md");

fn state() -> TestStateDirectory {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(
        &mut opened.store,
        [ok(1), finished(2, Outcome::Exited { code: 3 }), started(3)],
    );
    write(&mut opened.store, [titled("nightly", "t")]);
    state
}

fn reader(state: &TestStateDirectory) -> Connection {
    Connection::open_with_flags(state.database(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

#[test]
fn every_query_on_the_page_runs() {
    let state = state();
    let connection = reader(&state);
    let queries: Vec<&str> = PAGE
        .split("```sql\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(queries.len() >= 8, "{}", queries.len());
    for query in queries {
        let mut statement = connection
            .prepare(query)
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        let mut rows = statement.query([]).unwrap();
        while rows
            .next()
            .unwrap_or_else(|error| panic!("{query}: {error}"))
            .is_some()
        {}
    }
}

#[test]
fn history_is_readable() {
    let state = state();
    let row = reader(&state)
        .query_row(
            "select begun, command, outcome, status, slowest, duration_ms, id from history where failed = 1",
            [],
            |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, i64>(3)?,
                    row.get::<_, String>(4)?,
                    row.get::<_, f64>(5)?,
                    row.get::<_, String>(6)?,
                ))
            },
        )
        .unwrap();
    assert_eq!(
        (row.0.len(), &*row.1, &*row.2, row.3, &*row.4),
        (19, "sh -c echo ok", "exited", 3, "process.wait")
    );
    assert!((row.5 - 0.9).abs() < 1e-9, "from its acceptance on: {}", row.5);
    assert_eq!(row.6, "0000000000000002".to_owned() + &"0".repeat(16));
}

#[test]
fn the_duration_of_a_lost_or_running_command_is_null() {
    let state = state();
    let mut opened = state.open();
    let mut lost = started(4);
    lost.end = Some(end(4, Outcome::Lost(Loss::Server)));
    write(&mut opened.store, [lost, started(5)]);
    let connection = reader(&state);
    let mut took = connection
        .prepare("select outcome, duration_ms is not null from history order by begun")
        .unwrap();
    let took: Vec<(String, bool)> = took
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let took: Vec<_> = took.iter().map(|(outcome, known)| (&**outcome, *known)).collect();
    assert_eq!(
        took,
        [
            ("exited", true),
            ("exited", true),
            ("lost", false),
            ("lost", false),
            ("running", false)
        ]
    );
}

#[test]
fn the_page_names_every_table_and_the_version() {
    let state = state();
    let connection = reader(&state);
    let mut tables = connection
        .prepare("select name from sqlite_schema where type in ('table', 'view') and name not like 'sqlite%'")
        .unwrap();
    for table in tables.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        let table = table.unwrap();
        assert!(PAGE.contains(&format!("`{table}`")), "{table} is not on the page");
    }
    assert!(PAGE.contains(&format!("the schema's version ({VERSION})")));
}
