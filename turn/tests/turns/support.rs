//! A provider whose ended spans are kept, and readers of their attributes.

use std::time::Duration;

use baton_support::spans::Ended;
use baton_turn::Thread;
use futures_util::{Stream, StreamExt, stream};
use opentelemetry::Value;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A model's stream: each item after a pause.
pub(crate) fn model(items: &'static [(u64, &'static str)]) -> impl Stream<Item = &'static str> {
    stream::iter(items).then(async |(pause, item)| {
        tokio::time::sleep(Duration::from_millis(*pause)).await;
        *item
    })
}

pub(crate) fn is_text(item: &&str) -> bool {
    !item.is_empty()
}

pub(crate) struct Traced {
    pub(crate) provider: SdkTracerProvider,
    pub(crate) ended: Ended,
}

impl Traced {
    pub(crate) fn new() -> Self {
        let ended = Ended::default();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(ended.clone())
            .build();
        Self { provider, ended }
    }

    pub(crate) fn thread(&self, id: &str) -> Thread {
        self.with(Thread::new(id).expect("a thread"))
    }

    pub(crate) fn with(&self, thread: Thread) -> Thread {
        thread.with_provider(&self.provider)
    }

    /// Asserts that each span whose parent ended too lies inside it.
    pub(crate) fn assert_contained(&self) {
        let spans = self.ended.all();
        for child in &spans {
            let is_parent = |span: &&SpanData| span.span_context.span_id() == child.parent_span_id;
            if let Some(parent) = spans.iter().find(is_parent) {
                let is_inside = parent.start_time <= child.start_time && child.end_time <= parent.end_time;
                assert!(is_inside, "{} is outside of {}", child.name, parent.name);
            }
        }
    }
}

pub(crate) fn duration(span: &SpanData) -> Duration {
    span.end_time
        .duration_since(span.start_time)
        .expect("the end is after the start")
}

/// The attribute's value.
///
/// # Panics
/// If it is on the span twice: the SDK keeps both.
pub(crate) fn value(span: &SpanData, name: &str) -> Option<Value> {
    let mut values = span
        .attributes
        .iter()
        .filter(|attribute| attribute.key.as_str() == name);
    let value = values.next().map(|attribute| attribute.value.clone());
    assert!(values.next().is_none(), "{} has {name} twice", span.name);
    value
}

pub(crate) fn has(span: &SpanData, name: &str) -> bool {
    value(span, name).is_some()
}

pub(crate) fn int(span: &SpanData, name: &str) -> i64 {
    match value(span, name) {
        Some(Value::I64(value)) => value,
        other => panic!("{} has {name}={other:?}", span.name),
    }
}

pub(crate) fn text(span: &SpanData, name: &str) -> String {
    match value(span, name) {
        Some(Value::String(value)) => value.to_string(),
        other => panic!("{} has {name}={other:?}", span.name),
    }
}
