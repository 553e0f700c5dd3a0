//! Whatever a caller does in whatever order: every span ends once, inside its parent, and the sums are those of the
//! spans.

use std::collections::HashSet;
use std::pin::Pin;
use std::time::Duration;

use baton_turn::attribute::STREAM_INDEX;
use baton_turn::{Step, ToolCall};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use opentelemetry_sdk::trace::SpanData;
use proptest::prelude::*;
use tokio::sync::mpsc;

use crate::support::{Traced, duration, has, int, value};

#[derive(Debug, Clone, Copy)]
enum Act {
    BeginStep,
    EndStep(usize),
    DropStep(usize),
    BeginCall(usize),
    Dispatch(usize),
    EndCall(usize),
    DropCall(usize),
    BeginStream(usize),
    Item(usize, Result<bool, ()>),
    EndStream(usize),
    DropStream(usize),
    Advance(u64),
    EndTurn,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let any = 0..8_usize;
    let act = prop_oneof![
        3 => Just(Act::BeginStep),
        1 => any.clone().prop_map(Act::EndStep),
        1 => any.clone().prop_map(Act::DropStep),
        3 => any.clone().prop_map(Act::BeginCall),
        2 => any.clone().prop_map(Act::Dispatch),
        1 => any.clone().prop_map(Act::EndCall),
        1 => any.clone().prop_map(Act::DropCall),
        3 => any.clone().prop_map(Act::BeginStream),
        5 => (any.clone(), prop_oneof![Just(Ok(true)), Just(Ok(false)), Just(Err(()))])
            .prop_map(|(stream, item)| Act::Item(stream, item)),
        1 => any.clone().prop_map(Act::EndStream),
        1 => any.prop_map(Act::DropStream),
        // tokio's timers have a resolution of a millisecond, its clock has not.
        5 => prop_oneof![Just(1), 1..3_000_u64, 1..50_000_000_u64].prop_map(Act::Advance),
        1 => Just(Act::EndTurn),
    ];
    prop::collection::vec(act, 0..60)
}

type Items = Pin<Box<dyn Stream<Item = Result<bool, ()>>>>;

struct Opened<T>(Vec<Option<T>>);

impl<T> Opened<T> {
    fn get(&self, index: usize) -> Option<&T> {
        self.0.iter().flatten().nth(index)
    }

    fn take(&mut self, index: usize) -> Option<T> {
        self.0.iter_mut().filter(|one| one.is_some()).nth(index)?.take()
    }
}

async fn run(acts: Vec<Act>) -> (Traced, usize) {
    let traced = Traced::new();
    let mut turn = Some(traced.thread("t").turn().expect("a turn"));
    let mut steps = Opened::<Step>(Vec::new());
    let mut calls = Opened::<ToolCall>(Vec::new());
    let mut streams = Opened::<(Items, Option<mpsc::UnboundedSender<Result<bool, ()>>>)>(Vec::new());
    let mut begun = 1;
    for act in acts {
        match act {
            Act::BeginStep => {
                if let Some(turn) = &turn {
                    steps.0.push(Some(turn.step().expect("a step")));
                    begun += 1;
                }
            }
            Act::EndStep(index) => drop(steps.take(index).map(Step::end)),
            Act::DropStep(index) => drop(steps.take(index)),
            Act::BeginCall(index) => {
                if let Some(Ok(call)) = steps.get(index).map(|step| step.tool_call("tool", "id")) {
                    calls.0.push(Some(call));
                    begun += 1;
                }
            }
            Act::Dispatch(index) => drop(calls.get(index).map(ToolCall::remote_parent)),
            Act::EndCall(index) => drop(calls.take(index).map(ToolCall::end)),
            Act::DropCall(index) => drop(calls.take(index)),
            Act::BeginStream(index) => {
                if let Some(step) = steps.get(index) {
                    let (send, mut receive) = mpsc::unbounded_channel();
                    let source = stream::poll_fn(move |cx| receive.poll_recv(cx));
                    let items = step.try_stream(source, |is_content| *is_content);
                    streams.0.push(Some((Box::pin(items), Some(send))));
                }
            }
            Act::Item(index, item) => {
                if let Some((items, Some(send))) = streams.0.iter_mut().flatten().nth(index) {
                    send.send(item).expect("the stream is there");
                    assert_eq!(items.next().now_or_never(), Some(Some(item)));
                }
            }
            Act::EndStream(index) => {
                if let Some((items, send)) = streams.0.iter_mut().flatten().nth(index) {
                    drop(send.take());
                    assert_eq!(items.next().now_or_never(), Some(None));
                }
            }
            Act::DropStream(index) => drop(streams.take(index)),
            Act::Advance(ns) => tokio::time::advance(Duration::from_nanos(ns)).await,
            Act::EndTurn => drop(turn.take()),
        }
    }
    drop((turn, calls, steps, streams));
    (traced, begun)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_span_ends_once_inside_its_parent(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let (traced, begun) = runtime.block_on(run(acts));
        let spans = traced.ended.all();
        traced.assert_contained();
        let ids: HashSet<_> = spans.iter().map(|span| span.span_context.span_id()).collect();
        prop_assert_eq!(ids.len(), spans.len());
        let handles = ["invoke_agent", "chat", "execute_tool"];
        prop_assert_eq!(spans.iter().filter(|span| handles.contains(&&*span.name)).count(), begun);
        for decode in spans.iter().filter(|span| span.name == "decode") {
            let of_stream = |span: &&SpanData| {
                span.name == "ttft"
                    && span.parent_span_id == decode.parent_span_id
                    && value(span, STREAM_INDEX) == value(decode, STREAM_INDEX)
            };
            let ttft = spans.iter().find(of_stream).expect("a ttft");
            prop_assert_eq!(decode.start_time, ttft.end_time + Duration::from_micros(1));
        }
        let turn = spans.last().expect("a turn");
        prop_assert_eq!(&turn.name, "invoke_agent");
        for (stage, sum) in [("ttft", "baton.turn.ttft_ns"), ("decode", "baton.turn.decode_ns")] {
            let durations: Vec<_> = spans.iter().filter(|span| span.name == stage).map(duration).collect();
            prop_assert_eq!(has(turn, sum), !durations.is_empty());
            if has(turn, sum) {
                let total: Duration = durations.iter().sum();
                prop_assert_eq!(u128::try_from(int(turn, sum)).expect("positive"), total.as_nanos());
            }
        }
    }
}
