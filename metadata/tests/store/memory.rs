//! Records in memory: `--state none`.

use baton_metadata::store::query::{HistoryQuery, ThreadsQuery};
use baton_metadata::store::retention::{MIN_BYTES, Retention};
use baton_metadata::store::sqlite::{self, Reader, SqliteStore};
use baton_metadata::store::{Store, UpkeepProgress};
use baton_proto::Epoch;
use baton_trace::outcome::Outcome;

use crate::support::{ME, NOW, OTHER, finished, id, key, ok, started, thread_key, titled, write};

fn open(retention: Retention) -> (SqliteStore, Reader) {
    sqlite::open_in_memory(Epoch(rand::random()), retention, NOW).unwrap()
}

fn ids(reader: &Reader) -> Vec<baton_proto::ProcessId> {
    let page = reader.history(&HistoryQuery::of(ME)).unwrap();
    page.items
        .iter()
        .map(|record| record.patch.key.process_id)
        .collect()
}

#[test]
fn records_in_memory_are_queried_like_those_on_disk() {
    let (mut store, reader) = open(Retention::default());
    write(&mut store, [titled("a thread", "its title")]);
    write(&mut store, [started(1)]);
    write(&mut store, [ok(1), finished(2, Outcome::Exited { code: 3 })]);
    assert_eq!(ids(&reader), [id(2), id(1)]);
    assert_eq!(reader.process(&key(1)).unwrap().unwrap().patch, ok(1));
    let failed = HistoryQuery {
        failed: true,
        ..HistoryQuery::of(ME)
    };
    assert_eq!(reader.history(&failed).unwrap().items.len(), 1);
    let thread = reader.thread(&thread_key("a thread")).unwrap().unwrap();
    assert_eq!(thread.title.as_deref(), Some("its title"));
    let threads = ThreadsQuery {
        owner: ME,
        archived: false,
        after: None,
        limit: 10,
    };
    assert_eq!(reader.threads(&threads).unwrap().items.len(), 1);
    assert_eq!(reader.history(&HistoryQuery::of(OTHER)).unwrap().items, []);
    assert_eq!(store.upkeep(NOW).unwrap(), UpkeepProgress::Done);
}

#[test]
fn two_servers_in_one_process_share_no_memory() {
    let (mut store, reader) = open(Retention::default());
    write(&mut store, [ok(1)]);
    let (_other, others) = open(Retention::default());
    assert_eq!((ids(&reader).len(), ids(&others)), (1, vec![]));
}

#[test]
fn memory_is_bounded_by_removing_the_oldest_finished_records() {
    let (mut store, reader) = open(Retention {
        age: None,
        bytes: Some(MIN_BYTES),
    });
    // The oldest record; its process still runs.
    write(&mut store, [started(0)]);
    for batch in 0..100 {
        write(&mut store, (1..100).map(|n| ok(batch * 100 + n)));
        assert!(store.bytes() <= MIN_BYTES, "{} after {batch}", store.bytes());
    }
    assert!(
        reader.process(&key(0)).unwrap().is_some(),
        "a running process was removed"
    );
    assert!(
        reader.process(&key(9_999)).unwrap().is_some(),
        "the newest record was removed"
    );
    assert!(
        reader.process(&key(1)).unwrap().is_none(),
        "the oldest finished record was kept"
    );
    assert!(ids(&reader).len() > 50);
}

#[test]
fn concurrent_readers_and_writers_do_not_fail() {
    let (mut store, reader) = open(Retention::default());
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let reader = reader.clone();
            std::thread::spawn(move || {
                for _ in 0..200 {
                    ids(&reader);
                }
            })
        })
        .collect();
    for n in 0..200 {
        write(&mut store, [ok(n)]);
    }
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(reader.process(&key(199)).unwrap().unwrap().patch, ok(199));
}
