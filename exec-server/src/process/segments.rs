//! The segments of a command whose start names a family: when it was ready, when its session began, and when output
//! followed. No IO, no clock.
//!
//! ```text
//! standard output ─► Detector ─► ready ┐
//! MarkerReached ───► session init ─────┼─► stages with both ends, a reason for every other, and the remainder
//! standard output ─► first output ─────┘
//! ```

use std::time::{Duration, Instant};

use baton_trace::family::{Detection, Detector, Family, FamilySummary, STAGES, Unavailable};
use baton_trace::stage::StageId;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Segments {
    family: Family,
    ready: Ready,
    session_init: Option<Instant>,
    /// The first output after `session_init`.
    first_output: Option<Instant>,
    /// The first output after the last known marker.
    after_marker: Option<Instant>,
    /// The end of standard output.
    end: Option<Instant>,
    last_line: LastLine,
}

/// Whether the end of standard output is the end of an unterminated last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastLine {
    /// The end was not observed yet.
    Open,
    /// The program ended its output, by its exit or before it.
    Complete,
    /// A signal ended the program, or the exec-server was killing it: more of the line may have been about to come.
    Cut,
}

/// The ready marker.
#[derive(Debug)]
enum Ready {
    /// Boxed: the detector is dropped when it has answered.
    Searching(Box<Detector>),
    At(Instant),
    Unavailable(Unavailable),
}

impl Segments {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            ready: Ready::Searching(Box::new(Detector::new(family))),
            session_init: None,
            first_output: None,
            after_marker: None,
            end: None,
            last_line: LastLine::Open,
        }
    }

    /// Standard output was read.
    pub(super) fn output(&mut self, chunk: &[u8], now: Instant) {
        if self.session_init.is_some() {
            self.first_output.get_or_insert(now);
        }
        if self.session_init.is_some() || matches!(self.ready, Ready::At(_)) {
            self.after_marker.get_or_insert(now);
        }
        if let Ready::Searching(detector) = &mut self.ready {
            match detector.feed(chunk) {
                Detection::Searching => {}
                Detection::Ready { end } => {
                    self.ready = Ready::At(now);
                    self.after_marker = (end < chunk.len()).then_some(now);
                }
                Detection::Stopped(reason) => self.ready = Ready::Unavailable(reason),
            }
        }
    }

    /// Session init was reported. Only the first report counts.
    pub(super) fn session_init(&mut self, now: Instant) {
        if self.session_init.is_none() {
            self.session_init = Some(now);
            self.after_marker = None;
        }
    }

    /// Standard output is at its end.
    pub(super) fn end_of_file(&mut self, now: Instant) {
        self.end.get_or_insert(now);
        if self.last_line == LastLine::Open {
            self.last_line = LastLine::Complete;
        }
    }

    /// The exec-server begins to kill the process. A line that standard output has not ended before is cut.
    pub(super) fn kill_begins(&mut self) {
        if self.last_line == LastLine::Open {
            self.last_line = LastLine::Cut;
        }
    }

    /// A signal that the exec-server did not send has ended the process. It may also have ended standard output, whose
    /// end is observed before that of the process.
    pub(super) fn killed(&mut self) {
        self.last_line = LastLine::Cut;
    }

    /// The process is over. Later calls have no effect.
    pub(super) fn finish(&mut self, now: Instant) {
        let end = *self.end.get_or_insert(now);
        if let Ready::Searching(detector) = &mut self.ready {
            self.ready = match detector.finish(self.last_line == LastLine::Complete) {
                Detection::Ready { .. } => {
                    self.after_marker = None;
                    Ready::At(end)
                }
                Detection::Stopped(reason) => Ready::Unavailable(reason),
                // A detector that is finished has answered.
                Detection::Searching => Ready::Unavailable(Unavailable::NotRecognised),
            };
        }
    }

    /// The stages that have both ends. `begun` is the beginning of the spawn.
    pub(super) fn stages(&self, begun: Instant) -> impl Iterator<Item = (StageId, Instant, Instant)> + use<> {
        let intervals = STAGES.into_iter().zip(self.intervals(begun));
        intervals.filter_map(|(stage, interval)| interval.ok().map(|(start, end)| (stage, start, end)))
    }

    /// What is known at the end of the process.
    pub(super) fn summary(&self, begun: Instant) -> FamilySummary {
        let intervals = self.intervals(begun);
        let end = self.after_marker.or(self.end).unwrap_or(begun).max(begun);
        FamilySummary {
            family: self.family,
            unavailable: intervals.map(Result::err),
            remainder_ns: remainder_ns(begun, end, intervals.into_iter().flatten()),
        }
    }

    /// The intervals of [`STAGES`].
    fn intervals(&self, begun: Instant) -> [Result<(Instant, Instant), Unavailable>; 3] {
        let ready = match &self.ready {
            Ready::At(ready) => Ok(*ready),
            Ready::Unavailable(reason) => Err(*reason),
            Ready::Searching(_) => Err(Unavailable::NotSeen),
        };
        let cli_ready = ready.map(|ready| (begun, ready));
        let session_init = match (ready, self.session_init) {
            (_, None) => Err(Unavailable::NotReported),
            (Err(_), Some(_)) => Err(Unavailable::NoReady),
            (Ok(ready), Some(reported)) if reported < ready => Err(Unavailable::OutOfOrder),
            (Ok(ready), Some(reported)) => Ok((ready, reported)),
        };
        let first_output = match (self.session_init, self.first_output) {
            (None, _) => Err(Unavailable::NoSessionInit),
            (Some(_), None) => Err(Unavailable::NoOutput),
            (Some(reported), Some(first)) => Ok((reported, first)),
        };
        [cli_ready, session_init, first_output]
    }
}

/// Nanoseconds from `begun` to `end` that no interval accounts for.
fn remainder_ns(begun: Instant, end: Instant, intervals: impl Iterator<Item = (Instant, Instant)>) -> u64 {
    // In the order of the tables, except where session init came before ready. Then `cli_ready` holds what overlaps.
    let mut accounted_to = begun;
    let mut remainder = Duration::ZERO;
    let mut sorted: Vec<_> = intervals.collect();
    sorted.sort_unstable();
    for (start, until) in sorted {
        remainder += start.min(end).saturating_duration_since(accounted_to);
        accounted_to = accounted_to.max(until).min(end);
    }
    remainder += end.saturating_duration_since(accounted_to);
    u64::try_from(remainder.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use Unavailable::{
        LookedAtLimit, NoOutput, NoReady, NoSessionInit, NotRecognised, NotReported, NotSeen, OutOfOrder,
    };
    use baton_trace::limits::FAMILY_OUTPUT_MAX;
    use baton_trace::stage::exec::{FAMILY_CLI_READY, FAMILY_FIRST_OUTPUT, FAMILY_SESSION_INIT};
    use proptest::prelude::*;

    use super::*;

    /// What happens to a process, at which millisecond after the beginning of its spawn.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Output(&'static str),
        SessionInit,
        End,
    }
    use Event::{End, Output, SessionInit};

    struct Measured {
        /// Stages with start and end in milliseconds.
        stages: Vec<(StageId, u64, u64)>,
        unavailable: [Option<Unavailable>; 3],
        remainder_ms: u64,
    }

    fn measure(family: Family, events: &[(u64, Event)]) -> Measured {
        let begun = Instant::now();
        let mut segments = Segments::new(family);
        let mut now = begun;
        for (ms, event) in events {
            now = begun + Duration::from_millis(*ms);
            match event {
                Output(chunk) => segments.output(chunk.as_bytes(), now),
                SessionInit => segments.session_init(now),
                End => segments.end_of_file(now),
            }
        }
        segments.finish(now);
        let ms = |at: Instant| (at - begun).as_millis() as u64;
        let summary = segments.summary(begun);
        assert_eq!(summary.family, family);
        Measured {
            stages: segments
                .stages(begun)
                .map(|(stage, start, end)| (stage, ms(start), ms(end)))
                .collect(),
            unavailable: summary.unavailable,
            remainder_ms: summary.remainder_ns / 1_000_000,
        }
    }

    #[test]
    fn with_both_markers_the_stages_are_adjacent_and_nothing_remains() {
        let measured = measure(
            Family::JsonLines,
            &[
                (5, Output("starting\n")),
                (10, Output("{}\n")),
                (30, SessionInit),
                (40, Output("{\"answer\":1}\n")),
                (50, Output("{}\n")),
                (60, End),
            ],
        );
        assert_eq!(
            measured.stages,
            [
                (FAMILY_CLI_READY, 0, 10),
                (FAMILY_SESSION_INIT, 10, 30),
                (FAMILY_FIRST_OUTPUT, 30, 40),
            ]
        );
        assert_eq!((measured.unavailable, measured.remainder_ms), ([None; 3], 0));
    }

    #[test]
    fn a_missing_end_is_unavailable_with_its_reason_and_its_time_remains() {
        type Case<'a> = (&'a [(u64, Event)], [Option<Unavailable>; 3], u64);
        let cases: [Case<'_>; 10] = [
            // Nothing happened.
            (
                &[(70, End)],
                [Some(NotSeen), Some(NotReported), Some(NoSessionInit)],
                70,
            ),
            (
                &[(5, Output("log\n")), (70, End)],
                [Some(NotRecognised), Some(NotReported), Some(NoSessionInit)],
                70,
            ),
            // To the first output after ready.
            (
                &[(10, Output("{}\n")), (25, Output("x")), (70, End)],
                [None, Some(NotReported), Some(NoSessionInit)],
                15,
            ),
            // That output is in the chunk of the marker.
            (
                &[(10, Output("{}\nx")), (25, Output("x")), (70, End)],
                [None, Some(NotReported), Some(NoSessionInit)],
                0,
            ),
            (
                &[(10, Output("{}\n")), (70, End)],
                [None, Some(NotReported), Some(NoSessionInit)],
                60,
            ),
            // An unterminated line is complete with the end of output.
            (
                &[(10, Output("{}")), (70, End)],
                [None, Some(NotReported), Some(NoSessionInit)],
                0,
            ),
            (
                &[(10, Output("{}\n")), (30, SessionInit), (70, End)],
                [None, None, Some(NoOutput)],
                40,
            ),
            // Session init without ready.
            (
                &[(30, SessionInit), (40, Output("log\n")), (70, End)],
                [Some(NotRecognised), Some(NoReady), None],
                30,
            ),
            // Session init before ready: from 0 to 40 all is accounted for.
            (
                &[
                    (30, SessionInit),
                    (35, Output("log\n")),
                    (40, Output("{}\n")),
                    (50, Output("x")),
                    (70, End),
                ],
                [None, Some(OutOfOrder), None],
                10,
            ),
            (
                &[(30, SessionInit), (70, End)],
                [Some(NotSeen), Some(NoReady), Some(NoOutput)],
                70,
            ),
        ];
        for (events, unavailable, remainder_ms) in cases {
            let measured = measure(Family::JsonLines, events);
            assert_eq!(measured.unavailable, unavailable, "{events:?}");
            assert_eq!(measured.remainder_ms, remainder_ms, "{events:?}");
            let absent = unavailable.iter().flatten().count();
            assert_eq!(measured.stages.len() + absent, 3, "{events:?}");
        }
    }

    #[test]
    fn only_the_first_report_counts() {
        let measured = measure(
            Family::Text,
            &[
                (1, Output("a")),
                (2, SessionInit),
                (3, SessionInit),
                (4, Output("b")),
                (5, SessionInit),
                (9, End),
            ],
        );
        assert_eq!(measured.stages[1], (FAMILY_SESSION_INIT, 1, 2));
        assert_eq!(measured.stages[2], (FAMILY_FIRST_OUTPUT, 2, 4));
        assert_eq!(measured.remainder_ms, 0);
    }

    #[test]
    fn output_that_was_cut_completes_no_line() {
        let begun = Instant::now();
        let mut segments = Segments::new(Family::JsonLines);
        segments.output(b"{}", begun);
        segments.finish(begun);
        assert_eq!(segments.summary(begun).unavailable[0], Some(NotRecognised));
    }

    #[test]
    fn a_line_that_a_kill_cut_off_is_none_and_one_that_ended_before_the_kill_is_complete() {
        type Step = fn(&mut Segments, Instant);
        let end: Step = Segments::end_of_file;
        let kill: Step = |segments, _| segments.kill_begins();
        let signal: Step = |segments, _| segments.killed();
        for (steps, expected) in [
            (&[end][..], None),
            (&[end, kill], None),
            (&[kill, end], Some(NotRecognised)),
            (&[kill], Some(NotRecognised)),
            (&[end, signal], Some(NotRecognised)),
            (&[signal, end], Some(NotRecognised)),
        ] {
            let begun = Instant::now();
            let mut segments = Segments::new(Family::JsonLines);
            segments.output(b"{}", begun);
            steps.iter().for_each(|step| step(&mut segments, begun));
            segments.finish(begun + Duration::from_millis(7));
            let summary = segments.summary(begun);
            assert_eq!(summary.unavailable[0], expected, "{summary:?}");
            let ready = segments.stages(begun).next();
            assert_eq!(
                ready,
                expected.is_none().then_some((FAMILY_CLI_READY, begun, begun))
            );
        }
    }

    #[test]
    fn a_detector_that_gave_up_is_dropped() {
        let begun = Instant::now();
        let mut segments = Segments::new(Family::JsonLines);
        for _ in 0..=FAMILY_OUTPUT_MAX / 1024 {
            segments.output("lines of 16 b..\n".repeat(64).as_bytes(), begun);
        }
        assert!(matches!(segments.ready, Ready::Unavailable(LookedAtLimit)));
        segments.output(b"{}\n", begun);
        segments.end_of_file(begun);
        segments.finish(begun);
        assert_eq!(segments.summary(begun).unavailable[0], Some(LookedAtLimit));
    }

    proptest! {
        /// Whatever happens in whatever order, each stage has an interval or a reason, and intervals and remainder add
        /// up to the window at least.
        #[test]
        fn stages_reasons_and_remainder_are_always_defined(
            events in prop::collection::vec((0_u64..20, prop::sample::select(vec![
                Output("{}\n"), Output("log\n"), Output("{\"a\":"), Output("1}\nrest"), SessionInit, End,
            ])), 0..8)
        ) {
            let mut at = 0;
            let events: Vec<_> = events.into_iter().map(|(later, event)| { at += later; (at, event) }).collect();
            let measured = measure(Family::JsonLines, &events);
            let absent = measured.unavailable.iter().flatten().count();
            prop_assert_eq!(measured.stages.len() + absent, 3);
            let mut covered = vec![false; at as usize + 1];
            for (_, start, end) in &measured.stages {
                prop_assert!(start <= end && *end <= at);
                covered[*start as usize..*end as usize].fill(true);
            }
            prop_assert!(measured.remainder_ms <= at);
            let uncovered = covered.iter().take(at as usize).filter(|covered| !**covered).count() as u64;
            prop_assert!(measured.remainder_ms <= uncovered);
        }
    }
}
