//! The lifecycle of one process: decides when it is over, and measures its stages. No IO, no clock.
//!
//! The exit and the two pipes are observed separately. A process is over when its exit is known and both pipes are at
//! their end, or when the drain limit has passed since the exit. The limit counts only time in which the pipes are
//! read, so that output which waits for a slow client is not cut.

use std::time::{Duration, Instant};

use baton_proto::exec::OutputStream;
use baton_trace::family::{Family, FamilySummary};
use baton_trace::stage::{StageId, exec};

use super::segments::Segments;
use crate::termination::OutputTotals;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Lifecycle {
    begun: Instant,
    /// Its exec.
    spawned: Instant,
    phase: Phase,
    stdout: Pipe,
    stderr: Pipe,
    /// The drain limit.
    limit: Duration,
    /// `None` for most commands, whose start names no family. Boxed for them.
    segments: Option<Box<Segments>>,
}

#[derive(Debug, Default)]
struct Pipe {
    bytes: u64,
    first: Option<Instant>,
    end: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Running {
        reading: bool,
    },
    /// It has exited, and a pipe may still be open.
    Draining {
        exited: Instant,
        drain: Drain,
    },
    Closed {
        exited: Instant,
        closed: Instant,
    },
}

/// What is left of the drain limit.
#[derive(Debug, Clone, Copy)]
enum Drain {
    Until(Instant),
    /// The pipes are not read, so the limit does not count.
    Paused(Duration),
}

impl Lifecycle {
    pub(super) fn new(begun: Instant, spawned: Instant, limit: Duration, family: Option<Family>) -> Self {
        Self {
            begun,
            spawned,
            phase: Phase::Running { reading: true },
            stdout: Pipe::default(),
            stderr: Pipe::default(),
            limit,
            segments: family.map(|family| Box::new(Segments::new(family))),
        }
    }

    /// Output was read.
    pub(super) fn output(&mut self, stream: OutputStream, data: &[u8], now: Instant) {
        if let Some(pipe) = self.pipe(stream) {
            pipe.bytes += data.len() as u64;
            pipe.first.get_or_insert(now);
        }
        if let Some(segments) = &mut self.segments
            && stream == OutputStream::Stdout
        {
            segments.output(data, now);
        }
    }

    /// Whether the start named a family.
    pub(super) fn has_family(&self) -> bool {
        self.segments.is_some()
    }

    /// Session init was reported. After the exit, and without a family, this has no effect.
    pub(super) fn session_init(&mut self, now: Instant) {
        let has_exited = self.has_exited();
        if let Some(segments) = self.segments.as_mut().filter(|_| !has_exited) {
            segments.session_init(now);
        }
    }

    /// What the command's family measured, when the process is over.
    pub(super) fn family(&self) -> Option<FamilySummary> {
        let segments = self.segments.as_ref()?;
        Some(segments.summary(self.begun))
    }

    /// A pipe is at its end.
    pub(super) fn end_of_file(&mut self, stream: OutputStream, now: Instant) {
        if let Some(pipe) = self.pipe(stream) {
            pipe.end.get_or_insert(now);
        }
        if let Some(segments) = &mut self.segments
            && stream == OutputStream::Stdout
        {
            segments.end_of_file(now);
        }
    }

    /// The exec-server begins to kill the process.
    pub(super) fn kill_begins(&mut self) {
        if let Some(segments) = &mut self.segments {
            segments.kill_begins();
        }
    }

    /// A signal that the exec-server did not send has ended the process.
    pub(super) fn killed(&mut self) {
        if let Some(segments) = &mut self.segments {
            segments.killed();
        }
    }

    /// The process has executed its program, at this time. Without this call the time is that of the spawn's return.
    pub(super) fn executed(&mut self, at: Instant, now: Instant) {
        self.spawned = at.clamp(self.begun, now);
    }

    /// The exit was observed.
    pub(super) fn exit(&mut self, now: Instant) {
        if let Phase::Running { reading } = self.phase {
            let drain = match reading {
                true => Drain::Until(now + self.limit),
                false => Drain::Paused(self.limit),
            };
            self.phase = Phase::Draining { exited: now, drain };
        }
    }

    /// The log is full: the pipes are not read until [`Lifecycle::resume`].
    pub(super) fn pause(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Running { reading } => *reading = false,
            Phase::Draining { drain, .. } => {
                if let Drain::Until(until) = *drain {
                    *drain = Drain::Paused(until.saturating_duration_since(now));
                }
            }
            Phase::Closed { .. } => {}
        }
    }

    /// The pipes are read again.
    pub(super) fn resume(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Running { reading } => *reading = true,
            Phase::Draining { drain, .. } => {
                if let Drain::Paused(left) = *drain {
                    *drain = Drain::Until(now + left);
                }
            }
            Phase::Closed { .. } => {}
        }
    }

    /// When the drain limit passes, if it can end the process.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Draining {
                drain: Drain::Until(until),
                ..
            } if !self.at_end() => Some(until),
            _ => None,
        }
    }

    /// The exit is known, both pipes are at their end, and the process is not closed.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. }) && self.at_end()
    }

    /// The output, once, if the process is over now.
    pub(super) fn close(&mut self, now: Instant) -> Option<OutputTotals> {
        let Phase::Draining { drain, .. } = self.phase else {
            return None;
        };
        let is_due = matches!(drain, Drain::Until(until) if until <= now);
        (self.at_end() || is_due).then(|| self.cut(now)).flatten()
    }

    /// The output, once, even if a pipe is open. `None` before the exit.
    pub(super) fn cut(&mut self, now: Instant) -> Option<OutputTotals> {
        let Phase::Draining { exited, .. } = self.phase else {
            return None;
        };
        self.phase = Phase::Closed { exited, closed: now };
        if let Some(segments) = &mut self.segments {
            segments.finish(now);
        }
        Some(OutputTotals {
            truncated: !self.at_end(),
            stdout_bytes: self.stdout.bytes,
            stderr_bytes: self.stderr.bytes,
        })
    }

    pub(super) fn is_paused(&self) -> bool {
        matches!(
            self.phase,
            Phase::Running { reading: false }
                | Phase::Draining {
                    drain: Drain::Paused(_),
                    ..
                }
        )
    }

    pub(super) fn has_exited(&self) -> bool {
        !matches!(self.phase, Phase::Running { .. })
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// All stages. A stage whose end was not observed ends with the process.
    pub(super) fn stages(&self) -> impl Iterator<Item = (StageId, Instant, Instant)> {
        let (exited, closed) = match self.phase {
            Phase::Running { .. } => (self.spawned, self.spawned),
            Phase::Draining { exited, .. } => (exited, self.spawned),
            Phase::Closed { exited, closed } => (exited, closed),
        };
        let output = |stage, pipe: &Pipe| pipe.first.map(|first| (stage, first, pipe.end.unwrap_or(closed)));
        let first = [self.stdout.first, self.stderr.first].into_iter().flatten().min();
        [
            Some((exec::PROCESS, self.begun, closed)),
            Some((exec::PROCESS_SPAWN, self.begun, self.spawned)),
            first.map(|first| (exec::PROCESS_FIRST_OUTPUT, self.spawned, first)),
            output(exec::PROCESS_STDOUT, &self.stdout),
            output(exec::PROCESS_STDERR, &self.stderr),
            Some((exec::PROCESS_WAIT, self.spawned, exited)),
            Some((exec::PROCESS_CLOSE, exited, closed)),
        ]
        .into_iter()
        .flatten()
        .chain(
            self.segments
                .iter()
                .flat_map(|segments| segments.stages(self.begun)),
        )
    }

    fn at_end(&self) -> bool {
        self.stdout.end.is_some() && self.stderr.end.is_some()
    }

    fn pipe(&mut self, stream: OutputStream) -> Option<&mut Pipe> {
        match stream {
            OutputStream::Stdout => Some(&mut self.stdout),
            OutputStream::Stderr => Some(&mut self.stderr),
            OutputStream::Unspecified => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use OutputStream::{Stderr, Stdout};
    use baton_trace::family::Unavailable;

    use super::*;

    const DRAIN: Duration = Duration::from_secs(2);

    /// A process that was accepted at `t(0)` and spawned at `t(1)`, in milliseconds.
    fn lifecycle() -> (Lifecycle, impl Fn(u64) -> Instant) {
        let zero = Instant::now();
        let t = move |ms| zero + Duration::from_millis(ms);
        (Lifecycle::new(t(0), t(1), DRAIN, None), t)
    }

    fn ends(lifecycle: &mut Lifecycle, at: Instant) {
        lifecycle.end_of_file(Stdout, at);
        lifecycle.end_of_file(Stderr, at);
    }

    #[test]
    fn a_process_without_output_has_four_adjacent_stages() {
        let (mut lifecycle, t) = lifecycle();
        ends(&mut lifecycle, t(2));
        assert_eq!(lifecycle.close(t(2)), None, "the exit is not known");
        lifecycle.exit(t(3));
        assert_eq!(lifecycle.deadline(), None, "nothing to wait for");
        assert_eq!(lifecycle.close(t(4)), Some(OutputTotals::default()));
        assert_eq!(lifecycle.close(t(5)), None, "only once");
        let stages: Vec<_> = lifecycle.stages().collect();
        assert_eq!(
            stages,
            [
                (exec::PROCESS, t(0), t(4)),
                (exec::PROCESS_SPAWN, t(0), t(1)),
                (exec::PROCESS_WAIT, t(1), t(3)),
                (exec::PROCESS_CLOSE, t(3), t(4)),
            ]
        );
    }

    #[test]
    fn only_streams_with_bytes_have_stages() {
        let (mut lifecycle, t) = lifecycle();
        lifecycle.output(Stderr, b"12345", t(10));
        lifecycle.output(Stderr, b"1234567", t(20));
        ends(&mut lifecycle, t(30));
        lifecycle.exit(t(31));
        let closed = lifecycle.close(t(31)).unwrap();
        assert_eq!((closed.stdout_bytes, closed.stderr_bytes), (0, 12));
        let stages: Vec<_> = lifecycle.stages().collect();
        assert!(stages.contains(&(exec::PROCESS_FIRST_OUTPUT, t(1), t(10))));
        assert!(stages.contains(&(exec::PROCESS_STDERR, t(10), t(30))));
        assert!(!stages.iter().any(|stage| stage.0 == exec::PROCESS_STDOUT));
    }

    #[test]
    fn the_exit_waits_for_no_pipe_and_the_end_waits_for_both() {
        let (mut lifecycle, t) = lifecycle();
        lifecycle.exit(t(5));
        assert!(lifecycle.has_exited());
        lifecycle.end_of_file(Stdout, t(6));
        assert_eq!(lifecycle.close(t(6)), None);
        lifecycle.output(Stderr, b"1", t(7));
        lifecycle.end_of_file(Stderr, t(8));
        assert!(!lifecycle.close(t(8)).unwrap().truncated);
    }

    #[test]
    fn a_pipe_that_a_descendant_holds_is_cut_at_the_drain_limit() {
        let (mut lifecycle, t) = lifecycle();
        lifecycle.end_of_file(Stderr, t(4));
        lifecycle.exit(t(5));
        assert_eq!(lifecycle.deadline(), Some(t(2005)));
        assert_eq!(lifecycle.close(t(2004)), None);
        assert!(lifecycle.close(t(2005)).unwrap().truncated);
        assert_eq!(lifecycle.deadline(), None);
    }

    #[test]
    fn time_without_reads_does_not_count_towards_the_drain_limit() {
        let (mut lifecycle, t) = lifecycle();
        lifecycle.pause(t(2));
        lifecycle.exit(t(5));
        assert_eq!(lifecycle.deadline(), None);
        assert_eq!(lifecycle.close(t(60_000)), None);
        lifecycle.resume(t(60_000));
        assert_eq!(lifecycle.deadline(), Some(t(62_000)));
        lifecycle.pause(t(60_500));
        lifecycle.resume(t(70_000));
        assert_eq!(lifecycle.deadline(), Some(t(71_500)));
        ends(&mut lifecycle, t(70_001));
        assert!(!lifecycle.close(t(70_001)).unwrap().truncated);
    }

    #[test]
    fn a_process_cut_short_is_truncated() {
        let (mut lifecycle, t) = lifecycle();
        lifecycle.exit(t(5));
        assert!(lifecycle.cut(t(6)).unwrap().truncated);
        assert_eq!(lifecycle.cut(t(7)), None);
    }

    #[test]
    fn the_segments_of_a_family_read_standard_output_until_the_exit() {
        let zero = Instant::now();
        let t = move |ms| zero + Duration::from_millis(ms);
        let mut lifecycle = Lifecycle::new(t(0), t(1), DRAIN, Some(Family::JsonLines));
        lifecycle.output(Stderr, b"{}\n", t(2));
        lifecycle.output(Stdout, b"{}\n", t(3));
        lifecycle.exit(t(5));
        lifecycle.session_init(t(6));
        lifecycle.output(Stdout, b"late\n", t(7));
        ends(&mut lifecycle, t(8));
        lifecycle.close(t(9)).unwrap();
        let stages: Vec<_> = lifecycle.stages().collect();
        assert!(
            stages.contains(&(exec::FAMILY_CLI_READY, t(0), t(3))),
            "{stages:?}"
        );
        let summary = lifecycle.family().unwrap();
        let reasons = [
            None,
            Some(Unavailable::NotReported),
            Some(Unavailable::NoSessionInit),
        ];
        assert_eq!((summary.unavailable, summary.remainder_ns), (reasons, 4_000_000));
    }
}
