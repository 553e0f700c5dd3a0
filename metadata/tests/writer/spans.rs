//! Spans of the store: each has its own trace and links to the spans of sampled calls.

use std::sync::Arc;

use baton_metadata::Link;
use baton_metadata::limits::{SPAN_LINKS_MAX, WRITES_PER_SPAN};
use baton_metadata::store::WriteErrorKind;
use baton_trace::attribute;
use baton_trace::record::CallRecord;
use baton_trace::recorder::{CollectingSink, Recorder};
use baton_trace::stage::StageId;
use baton_trace::stage::metadata::{METADATA_FLUSH, METADATA_PERSIST};
use baton_trace::status::RpcStatus;
use baton_trace::w3c::TraceContext;

use crate::support::{AT_MOST, TestWriter, process, value};

fn recording() -> (TestWriter, Arc<CollectingSink>) {
    let collected = Arc::new(CollectingSink::default());
    (TestWriter::recording(Recorder::to(collected.clone())), collected)
}

fn of(records: &[CallRecord], stage: StageId) -> Vec<&CallRecord> {
    let has = |record: &&CallRecord| record.stage(stage).is_some();
    records.iter().filter(has).collect()
}

fn number(record: &CallRecord, key: &str) -> Option<i64> {
    let found = record.attributes.iter().find(|kv| kv.key.as_str() == key)?;
    match found.value {
        opentelemetry::Value::I64(number) => Some(number),
        _ => None,
    }
}

/// Does this many writes of sampled calls. Each is on disk before the next.
async fn write(test: &TestWriter, writes: u32) {
    for _ in 0..writes {
        let link = Link::to(&TraceContext::new_root(true));
        test.handle.accept_linked(process(1), link).unwrap();
        test.handle.flush().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_write_in_a_hundred_is_a_span() {
    let (test, collected) = recording();
    for _ in 0..2 {
        write(&test, WRITES_PER_SPAN - 1).await;
        // A write without a sampled call does not count.
        test.handle.accept(value("t", 0)).unwrap();
        test.handle.flush().await.unwrap();
        assert_eq!(collected.take().len(), 0);
        write(&test, 1).await;
        assert_eq!(of(&collected.take(), METADATA_PERSIST).len(), 1);
    }
    assert!(test.writer.shutdown(AT_MOST).await.is_complete());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_and_a_barrier_link_to_the_spans_of_their_callers() {
    let (test, collected) = recording();
    write(&test, WRITES_PER_SPAN - 1).await;
    let call = TraceContext::new_root(true);
    let flush_caller = TraceContext::new_root(true);
    test.handle.accept_linked(process(1), Link::to(&call)).unwrap();
    // Merges into the same entry, which keeps the first link.
    test.handle.accept(process(1)).unwrap();
    test.handle.flush_linked(Link::to(&flush_caller)).await.unwrap();
    assert!(test.writer.shutdown(AT_MOST).await.is_complete());

    let records = collected.take();
    let [persist] = of(&records, METADATA_PERSIST)[..] else {
        panic!("{records:?}")
    };
    assert_eq!(persist.links[0].trace_id, call.trace_id);
    assert_eq!(persist.links[0].span_id, call.span_id);
    assert_ne!(persist.context.trace_id, call.trace_id);
    assert_eq!(persist.parent, None);
    assert_eq!(number(persist, attribute::META_PATCHES), Some(1));
    assert_eq!(number(persist, attribute::META_ROWS), Some(1));
    let stage = persist.stage(METADATA_PERSIST).unwrap();
    let queued = number(persist, attribute::META_QUEUE_NS).unwrap();
    assert!(queued > 0 && queued as u64 <= stage.duration_ns());

    let [flush] = of(&records, METADATA_FLUSH)[..] else {
        panic!("{records:?}")
    };
    assert_eq!(
        (flush.links[0].trace_id, flush.parent),
        (flush_caller.trace_id, None)
    );
    assert_eq!(flush.status, RpcStatus(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_barrier_has_an_error_span_and_the_write_a_span_when_it_succeeds() {
    let (test, collected) = recording();
    write(&test, WRITES_PER_SPAN - 1).await;
    test.faults.fail(WriteErrorKind::Full);
    let link = Link::to(&TraceContext::new_root(true));
    test.handle.accept_linked(process(1), link).unwrap();
    test.handle.flush_linked(link).await.unwrap_err();
    let records = collected.take();
    assert!(of(&records, METADATA_PERSIST).is_empty());
    assert_eq!(of(&records, METADATA_FLUSH)[0].status, RpcStatus(14));
    test.repair().await;
    test.handle.flush().await.unwrap();
    assert!(test.writer.shutdown(AT_MOST).await.is_complete());
    assert_eq!(of(&collected.take(), METADATA_PERSIST).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsampled_writes_have_no_span_and_links_are_limited() {
    let (test, collected) = recording();
    assert_eq!(Link::to(&TraceContext::new_root(false)), None);
    test.handle.accept(value("t", 0)).unwrap();
    test.handle.flush().await.unwrap();
    write(&test, WRITES_PER_SPAN - 2).await;
    let begun = test.faults.begun();
    test.faults.stall(true);
    let accept = |n| {
        let link = Link::to(&TraceContext::new_root(true));
        test.handle.accept_linked(process(n), link).unwrap();
    };
    accept(0);
    test.handle.hurry();
    test.faults.wait_begun(begun + 1);
    (1..=100).for_each(accept);
    test.faults.stall(false);
    assert!(test.writer.shutdown(AT_MOST).await.is_complete());
    let records = collected.take();
    let [persist] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!(persist.links.len(), SPAN_LINKS_MAX);
}
