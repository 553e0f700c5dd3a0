//! Cases of Jaeger's algorithm, a model of it, and what `check` finds.

use proptest::prelude::*;

use super::*;
use crate::stage::exec::*;
use crate::stage::transport::*;

fn span(id: u64, parent: u64, start_us: u64, end_us: u64) -> PathSpan {
    PathSpan {
        id: SpanId::from(id),
        parent: (parent != 0).then(|| SpanId::from(parent)),
        kind: SpanKind::Internal,
        start_us,
        end_us,
        stage: None,
        remainder_ns: None,
    }
}

fn staged(stage: StageId, parent: StageId, start_us: u64, end_us: u64) -> PathSpan {
    PathSpan {
        stage: Some(stage),
        ..span(stage.0.into(), parent.0.into(), start_us, end_us)
    }
}

/// Id, start and end of each section.
fn path(spans: &[PathSpan]) -> Vec<(u64, u64, u64)> {
    let sections = critical_path(spans).into_iter();
    let id = |section: &PathSection| u64::from_be_bytes(spans[section.span].id.to_bytes());
    sections
        .map(|section| (id(&section), section.start_us, section.end_us))
        .collect()
}

#[test]
fn a_span_alone_is_its_own_path() {
    assert_eq!(path(&[span(1, 0, 10, 50)]), [(1, 10, 50)]);
    assert_eq!(path(&[]), []);
}

#[test]
fn siblings_apart_are_all_taken_and_what_is_between_is_their_parents() {
    let spans = [span(1, 0, 0, 100), span(2, 1, 10, 40), span(3, 1, 41, 90)];
    assert_eq!(
        path(&spans),
        [(1, 90, 100), (3, 41, 90), (1, 40, 41), (2, 10, 40), (1, 0, 10)]
    );
}

#[test]
fn one_that_touches_the_next_is_left_out() {
    let spans = [span(1, 0, 0, 100), span(2, 1, 0, 40), span(3, 1, 40, 100)];
    assert_eq!(path(&spans), [(3, 40, 100), (1, 0, 40)]);
}

#[test]
fn one_that_overlaps_the_next_is_left_out_with_all_below_it() {
    let spans = [
        span(1, 0, 0, 100),
        span(2, 1, 0, 50),
        span(4, 2, 0, 30),
        span(3, 1, 40, 100),
    ];
    assert_eq!(path(&spans), [(3, 40, 100), (1, 0, 40)]);
}

#[test]
fn of_several_that_end_together_the_first_to_begin_is_taken() {
    for order in [[0, 1, 2], [0, 2, 1], [2, 1, 0]] {
        let spans = [span(1, 0, 0, 100), span(2, 1, 10, 90), span(3, 1, 80, 90)];
        let spans = order.map(|at| spans[at].clone());
        assert_eq!(path(&spans), [(1, 90, 100), (2, 10, 90), (1, 0, 10)]);
    }
}

#[test]
fn one_that_overflows_is_cut_to_its_parent() {
    let spans = [
        span(1, 0, 10, 100),
        span(2, 1, 0, 40),
        span(3, 1, 50, 200),
        span(4, 3, 60, 150),
    ];
    assert_eq!(
        path(&spans),
        [(4, 60, 100), (3, 50, 60), (1, 40, 50), (2, 10, 40)]
    );
    let around = [span(1, 0, 10, 100), span(2, 1, 0, 200)];
    assert_eq!(path(&around), [(2, 10, 100)]);
}

#[test]
fn one_wholly_outside_its_parent_is_left_out_with_all_below_it() {
    for (start, end) in [(0, 10), (0, 5), (100, 120), (150, 160)] {
        let spans = [span(1, 0, 10, 100), span(2, 1, start, end), span(3, 2, 20, 90)];
        assert_eq!(path(&spans), [(1, 10, 100)], "{start}..{end}");
    }
}

#[test]
fn a_consumer_under_a_producer_is_left_out() {
    let mut spans = [span(1, 0, 0, 100), span(2, 1, 10, 90)];
    spans[0].kind = SpanKind::Producer;
    spans[1].kind = SpanKind::Consumer;
    assert_eq!(path(&spans), [(1, 0, 100)]);
    spans[0].kind = SpanKind::Internal;
    assert_eq!(path(&spans).len(), 3);
}

#[test]
fn each_root_has_a_path_and_a_missing_parent_makes_a_root() {
    let spans = [span(1, 0, 0, 10), span(2, 99, 5, 30), span(3, 2, 6, 30)];
    assert_eq!(path(&spans), [(1, 0, 10), (3, 6, 30), (2, 5, 6)]);
}

#[test]
fn cycles_shared_ids_and_depth_are_no_danger() {
    assert_eq!(
        path(&[span(1, 2, 0, 10), span(2, 1, 0, 10), span(3, 3, 0, 1)]),
        []
    );
    assert_eq!(path(&[span(1, 0, 0, 10), span(1, 0, 0, 99)]), [(1, 0, 10)]);
    let chain: Vec<_> = (1..100_000).map(|id| span(id, id - 1, 0, 10)).collect();
    assert_eq!(path(&chain), [(99_999, 0, 10)]);
}

/// The algorithm as it is told, recursive and slow. `bounds` holds what is left, cut.
struct Model<'a> {
    spans: &'a [PathSpan],
    bounds: HashMap<usize, (u64, u64)>,
    sections: Vec<PathSection>,
}

impl Model<'_> {
    fn keep(&mut self, of: usize) {
        let (first, last) = self.bounds[&of];
        for child in self.children(of) {
            let (start, end) = (self.spans[child].start_us, self.spans[child].end_us);
            let is_inside = if start >= first { start < last } else { end > first };
            if is_inside {
                self.bounds.insert(child, (start.max(first), end.min(last)));
                self.keep(child);
            }
        }
    }

    fn children(&self, of: usize) -> Vec<usize> {
        let id = Some(self.spans[of].id);
        (0..self.spans.len())
            .filter(|&at| self.spans[at].parent == id)
            .collect()
    }

    fn walk(&mut self, at: usize, bound: Option<u64>) {
        let (start, end) = self.bounds[&at];
        let mut last: Option<usize> = None;
        for child in self.children(at) {
            let Some(&(child_start, child_end)) = self.bounds.get(&child) else {
                continue;
            };
            if bound.is_some_and(|bound| child_end >= bound) {
                continue;
            }
            let is_better = last.is_none_or(|last| {
                let (last_start, last_end) = self.bounds[&last];
                let begins = (self.spans[child].start_us, child) < (self.spans[last].start_us, last);
                let _ = (child_start, last_start);
                child_end > last_end || child_end == last_end && begins
            });
            if is_better {
                last = Some(child);
            }
        }
        let from = last.map_or(start, |last| self.bounds[&last].1);
        let to = bound.unwrap_or(end);
        if from < to {
            self.sections.push(PathSection {
                span: at,
                start_us: from,
                end_us: to,
            });
        }
        if let Some(last) = last {
            self.walk(last, None);
            self.walk(at, Some(self.bounds[&last].0));
        }
    }
}

/// Trees whose parents stand before their children.
fn trees() -> impl Strategy<Value = Vec<PathSpan>> {
    let node = (any::<prop::sample::Index>(), 0u64..30, 0u64..20);
    prop::collection::vec(node, 0..14).prop_map(|nodes| {
        let mut spans = vec![span(1, 0, 5, 25)];
        for (nth, (parent, start, length)) in nodes.into_iter().enumerate() {
            let parent = parent.index(spans.len()) as u64 + 1;
            spans.push(span(nth as u64 + 2, parent, start, start + length));
        }
        spans
    })
}

proptest! {
    #[test]
    fn the_path_is_the_models(spans in trees()) {
        let mut model = Model { spans: &spans, bounds: HashMap::from([(0, (5, 25))]), sections: Vec::new() };
        model.keep(0);
        model.walk(0, None);
        prop_assert_eq!(critical_path(&spans), model.sections);
    }

    #[test]
    fn the_path_is_as_long_as_its_root_and_has_no_holes(spans in trees()) {
        let mut bound = 25;
        for section in critical_path(&spans) {
            prop_assert_eq!(section.end_us, bound);
            bound = section.start_us;
        }
        prop_assert_eq!(bound, 5);
    }

    #[test]
    fn nothing_panics(spans in prop::collection::vec((0u64..9, 0u64..9, any::<u64>(), any::<u64>(), any::<u8>()), 0..30)) {
        let spans: Vec<_> = spans.into_iter().map(|(id, parent, start, end, stage)| PathSpan {
            stage: Some(StageId(stage % 48)),
            remainder_ns: (stage > 100).then_some(end),
            ..span(id, parent, start, end)
        }).collect();
        critical_path(&spans);
        check(&spans);
    }
}

#[test]
fn spans_that_end_before_they_begin_overflow_no_sum() {
    let spans = [
        (4, 0, 0, 0, 0),
        (3, 0, 0, 16_400_027_491_140_962_377, 61),
        (5, 3, 14_547_795_001_111_815_466, 0, 198),
    ];
    let spans = spans.map(|(id, parent, start, end, stage)| PathSpan {
        stage: Some(StageId(stage % 48)),
        remainder_ns: (stage > 100).then_some(end),
        ..span(id, parent, start, end)
    });
    check(&spans);
}

/// A call as it is exported, of 1,000 µs; nobody accounts for 20 of them.
fn call() -> Vec<PathSpan> {
    let mut call = staged(CALL, StageId(0), 0, 1_000);
    call.remainder_ns = Some(20_000);
    vec![
        call,
        staged(DISPATCH, CALL, 0, 100),
        staged(TRANSIT, CALL, 101, 199),
        staged(RPC, CALL, 200, 800),
        staged(SERVER_OPEN, RPC, 200, 220),
        staged(PROCESS, RPC, 221, 780),
        staged(PROCESS_SPAWN, PROCESS, 221, 230),
        staged(PROCESS_STDOUT, PROCESS, 250, 769),
        staged(PROCESS_WAIT, PROCESS, 231, 770),
        staged(PROCESS_CLOSE, PROCESS, 771, 780),
        staged(TERMINAL_QUEUE, RPC, 781, 800),
        staged(TERMINAL_TRANSIT, CALL, 801, 1_000),
    ]
}

/// The call with other bounds for one of its stages.
fn with(stage: StageId, start_us: u64, end_us: u64) -> Vec<PathSpan> {
    let mut spans = call();
    let span = spans.iter_mut().find(|span| span.stage == Some(stage)).unwrap();
    (span.start_us, span.end_us) = (start_us, end_us);
    spans
}

#[test]
fn a_call_whose_awaited_stages_are_apart_passes() {
    assert_eq!(check(&call()), []);
}

#[test]
fn a_part_that_was_left_out_is_found() {
    let own_time = |findings: &[PathFinding]| match findings {
        [PathFinding::OwnTime { own_us, .. }] => Some(*own_us),
        _ => None,
    };
    // The way back begins before the server has ended.
    assert!(own_time(&check(&with(TERMINAL_TRANSIT, 799, 1_000))) > Some(550));
    // The end of the process is the beginning of what follows.
    assert!(own_time(&check(&with(PROCESS, 221, 781))) > Some(550));
    // The server's part lies elsewhere.
    assert!(own_time(&check(&with(RPC, 2_200, 2_800))) > Some(550));
}

#[test]
fn a_client_s_part_alone_has_a_hole_between_its_transits_and_no_other() {
    let alone = |mut spans: Vec<PathSpan>| {
        spans.retain(|span| matches!(span.stage, Some(CALL | DISPATCH | TRANSIT | TERMINAL_TRANSIT)));
        check(&spans)
    };
    assert_eq!(alone(call()), []);
    assert!(matches!(
        alone(with(DISPATCH, 0, 150))[..],
        [PathFinding::OwnTime { .. }]
    ));
}

#[test]
fn output_in_place_of_the_waiting_is_found() {
    let findings = check(&with(PROCESS_STDOUT, 250, 780));
    assert!(
        findings.contains(&PathFinding::Concurrent(PROCESS_STDOUT)),
        "{findings:?}"
    );
}

#[test]
fn a_child_beside_the_waiting_is_found_and_one_under_it_passes() {
    let childs = |parent: StageId| {
        let mut spans = call();
        spans.push(span(99, parent.0.into(), 240, 760));
        check(&spans)
    };
    assert_eq!(childs(PROCESS_WAIT), []);
    assert_eq!(
        childs(PROCESS),
        [PathFinding::ChildLeftOut(SpanId::from(u64::from(PROCESS.0)))]
    );
}

#[test]
fn ids_that_two_spans_share_are_found() {
    let mut spans = call();
    spans.push(spans[3].clone());
    assert!(matches!(check(&spans)[..], [PathFinding::SharedId(_)]));
}

#[test]
fn the_server_s_part_alone_is_held_to_its_own_gaps() {
    let mut spans = call();
    spans.retain(|span| !matches!(span.stage, Some(CALL | DISPATCH | TRANSIT | TERMINAL_TRANSIT)));
    assert_eq!(check(&spans), []);
    for span in &mut spans {
        if span.stage == Some(PROCESS_WAIT) {
            span.end_us = 771;
        }
    }
    assert!(!check(&spans).is_empty());
}
