//! What was given up is known until its owner takes note of it, whatever happens to the server in between.

use std::time::Duration;

use baton_faults::{Disk, Fault};
use baton_metadata::{FlushError, ProcessPatch, Writer, WriterHandle};
use baton_trace::recorder::Recorder;

use crate::support::{ME, OTHER, TestStateDirectory, key, ok};

const AT_MOST: Duration = Duration::from_secs(30);

fn start(state: &TestStateDirectory) -> (WriterHandle, Writer) {
    baton_metadata::start(Box::new(state.open().store), Recorder::off()).unwrap()
}

/// What a barrier of this client tells it was given up.
async fn reported(handle: &WriterHandle, owner: baton_metadata::record::Owner) -> u64 {
    match handle.flush_of(owner, None).await {
        Ok(_) => 0,
        Err(FlushError::Dropped { count }) => count,
        Err(error) => panic!("{error}"),
    }
}

/// Hands over more than the queue holds while the disk takes nothing; returns how many of [`ME`] were given up.
async fn overflow(state: &TestStateDirectory, handle: &WriterHandle) -> u64 {
    let disk = Disk::under(&state.path());
    disk.set(Fault::Write(libc::ENOSPC));
    let mut n = 0;
    while handle.stats().dropped < 40 {
        handle.accept(ok(n)).unwrap();
        n += 1;
    }
    disk.heal();
    // A write that has yet to tell that it failed may be under way.
    while let Err(FlushError::Failed { .. }) = handle.flush_of(ME, None).await {}
    reported(handle, ME).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_is_told_to_its_owner_until_that_one_takes_note_of_it() {
    let state = TestStateDirectory::new();
    let (handle, writer) = start(&state);
    let dropped = overflow(&state, &handle).await;
    assert_eq!(dropped, handle.stats().dropped);
    assert_eq!(
        reported(&handle, OTHER).await,
        0,
        "it is none of another client's business"
    );
    handle.acknowledge_of(OTHER, dropped);
    handle.acknowledge_of(ME, 10);
    assert_eq!(reported(&handle, ME).await, dropped - 10);
    let report = writer.shutdown(AT_MOST).await;
    assert_eq!((report.left, report.dropped), (0, dropped - 10));

    let (handle, writer) = start(&state);
    assert_eq!(reported(&handle, ME).await, dropped - 10, "after a restart too");
    assert_eq!(reported(&handle, OTHER).await, 0);
    handle.accept(ProcessPatch::new(key(1))).unwrap();
    handle.acknowledge_of(ME, dropped - 10);
    assert_eq!(reported(&handle, ME).await, 0);
    assert!(writer.shutdown(AT_MOST).await.is_complete());

    let (handle, writer) = start(&state);
    assert_eq!(reported(&handle, ME).await, 0, "it has taken note, for good");
    assert!(writer.shutdown(AT_MOST).await.is_complete());
}
