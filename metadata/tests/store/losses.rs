//! The number of dropped records is reported to their owner until the owner acknowledges it, also after a restart.

use std::time::Duration;

use baton_faults::{Disk, Fault};
use baton_metadata::{FlushError, ProcessPatch, Writer, WriterHandle};
use baton_trace::recorder::Recorder;

use crate::support::{ME, OTHER, TestStateDirectory, key, ok};

const AT_MOST: Duration = Duration::from_secs(30);

fn start(state: &TestStateDirectory) -> (WriterHandle, Writer) {
    baton_metadata::start(Box::new(state.open().store), Recorder::off()).unwrap()
}

/// The number of dropped records that a barrier of this owner reports.
async fn reported(handle: &WriterHandle, owner: baton_metadata::record::Owner) -> u64 {
    match handle.flush_of(owner, None).await {
        Ok(_) => 0,
        Err(FlushError::Dropped { count }) => count,
        Err(error) => panic!("{error}"),
    }
}

/// Accepts more patches than the queue holds while every write fails. Returns the number of dropped records of [`ME`].
async fn overflow(state: &TestStateDirectory, handle: &WriterHandle) -> u64 {
    let disk = Disk::under(&state.path());
    disk.set(Fault::Write(libc::ENOSPC));
    let mut n = 0;
    while handle.stats().dropped < 40 {
        handle.accept(ok(n)).unwrap();
        n += 1;
    }
    disk.heal();
    // A write may still be in progress whose failure is not reported yet.
    while let Err(FlushError::Failed { .. }) = handle.flush_of(ME, None).await {}
    reported(handle, ME).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drops_are_reported_to_their_owner_until_acknowledged() {
    let state = TestStateDirectory::new();
    let (handle, writer) = start(&state);
    let dropped = overflow(&state, &handle).await;
    assert_eq!(dropped, handle.stats().dropped);
    assert_eq!(
        reported(&handle, OTHER).await,
        0,
        "another owner's drops were reported"
    );
    handle.acknowledge_of(OTHER, dropped);
    handle.acknowledge_of(ME, 10);
    assert_eq!(reported(&handle, ME).await, dropped - 10);
    let report = writer.shutdown(AT_MOST).await;
    assert_eq!((report.left, report.dropped), (0, dropped - 10));

    let (handle, writer) = start(&state);
    assert_eq!(reported(&handle, ME).await, dropped - 10, "after a restart");
    assert_eq!(reported(&handle, OTHER).await, 0);
    handle.accept(ProcessPatch::new(key(1))).unwrap();
    handle.acknowledge_of(ME, dropped - 10);
    assert_eq!(reported(&handle, ME).await, 0);
    assert!(writer.shutdown(AT_MOST).await.is_complete());

    let (handle, writer) = start(&state);
    assert_eq!(reported(&handle, ME).await, 0, "the acknowledgement was lost");
    assert!(writer.shutdown(AT_MOST).await.is_complete());
}
