//! What `docs/METADATA.md` says to people who read the file themselves.

use rusqlite::{Connection, OpenFlags};

use baton_meta::record::Outcome;
use baton_meta::store::sqlite::VERSION;

use crate::support::{State, finished, ok, started, titled, write};

const PAGE: &str = include_str!("../../../docs/METADATA.md");

fn state() -> State {
    let state = State::new();
    let mut opened = state.open();
    write(
        &mut opened.store,
        [ok(1), finished(2, Outcome::Exited { code: 3 }), started(3)],
    );
    write(&mut opened.store, [titled("nightly", "t")]);
    state
}

fn reader(state: &State) -> Connection {
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
    assert!((row.5 - 0.899_999).abs() < 1e-9, "{}", row.5);
    assert_eq!(row.6, "0000000000000002".to_owned() + &"0".repeat(16));
}

#[test]
fn the_page_knows_every_table_and_the_version() {
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
