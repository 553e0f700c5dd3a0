//! Checks every patch against the bounds before it enters the queue.
//!
//! A process is recorded whatever its size, so its patch is truncated. A change of a thread is refused instead, because
//! a truncated value could mislead.

use std::sync::Arc;

use baton_proto::limits::TURN_MAX;

use super::{ProcessPatch, ThreadPatch, Update};
use crate::limits::{
    ARGV_BYTES, CWD_BYTES, MESSAGE_BYTES, STEP_ID_BYTES, THREAD_ID_BYTES, TIMINGS_BYTES, TITLE_BYTES,
    VALUE_BYTES, VALUE_KEY_BYTES, VALUES_PER_PATCH,
};

/// What an argument counts in addition to its bytes, so that empty arguments are bounded too.
const ARGUMENT_BYTES: usize = 16;

/// Truncates a process's patch; refuses a thread's, with the part that is too long.
pub(crate) fn check(update: &mut Update) -> Result<(), &'static str> {
    match update {
        Update::Process(patch) => {
            cut(patch);
            Ok(())
        }
        Update::Thread(patch) => refuse(patch),
    }
}

fn cut(patch: &mut ProcessPatch) {
    if let Some(start) = &mut patch.start {
        let argv: usize = start.argv.iter().map(|arg| arg.len() + ARGUMENT_BYTES).sum();
        let id_fits = start
            .thread_id
            .as_ref()
            .is_none_or(|id| id.len() <= THREAD_ID_BYTES);
        let step_fits = start.step.as_ref().is_none_or(|step| step.len() <= STEP_ID_BYTES);
        let turn_fits = start.turn.is_none_or(|turn| turn.get() <= TURN_MAX);
        if argv > ARGV_BYTES || start.cwd.len() > CWD_BYTES || !(id_fits && step_fits && turn_fits) {
            let start = Arc::make_mut(start);
            start.argv_cut |= start.argv.cut(ARGV_BYTES, ARGUMENT_BYTES);
            if start.cwd.len() > CWD_BYTES {
                start.cwd = start.cwd[..CWD_BYTES].into();
            }
            if !id_fits {
                start.thread_id = None;
            }
            if !step_fits {
                start.step = None;
            }
            if !turn_fits {
                start.turn = None;
            }
        }
    }
    if let Some(end) = &mut patch.end {
        if let Some(message) = end
            .message
            .as_mut()
            .filter(|message| message.len() > MESSAGE_BYTES)
        {
            *message = message[..message.floor_char_boundary(MESSAGE_BYTES)].into();
        }
        if end
            .timings
            .as_ref()
            .is_some_and(|timings| timings.encoded.len() > TIMINGS_BYTES)
        {
            end.timings = None;
        }
    }
}

fn refuse(patch: &ThreadPatch) -> Result<(), &'static str> {
    let id = patch.key.thread_id.len();
    if id == 0 || id > THREAD_ID_BYTES {
        return Err("a thread id has 1 to 256 bytes");
    }
    if patch
        .title
        .iter()
        .flatten()
        .any(|title| title.len() > TITLE_BYTES)
    {
        return Err("a title has at most 1,024 bytes");
    }
    if patch.values.len() > VALUES_PER_PATCH {
        return Err("at most 64 values are set at once");
    }
    for (key, value) in &patch.values {
        if key.is_empty() || key.len() > VALUE_KEY_BYTES {
            return Err("a value's key has 1 to 128 bytes");
        }
        if value.as_ref().is_some_and(|value| value.len() > VALUE_BYTES) {
            return Err("a value has at most 4,096 bytes");
        }
    }
    let path_fits = |path: &[u8]| path.len() <= CWD_BYTES;
    let fits = patch.facts.as_ref().is_none_or(|facts| {
        let branch = facts.branch.as_ref().map_or(0, |branch| branch.len());
        let head = facts.head.as_ref().map_or(0, |head| head.len());
        path_fits(&facts.cwd)
            && facts.repository_root.as_deref().is_none_or(path_fits)
            && branch <= CWD_BYTES
            && head <= VALUE_KEY_BYTES
    });
    if fits {
        Ok(())
    } else {
        Err("a fact of a working directory is longer than a path can be")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU64;

    use baton_proto::{Epoch, ProcessId};
    use baton_trace::outcome::{Outcome, StartFailure};

    use super::super::{Owner, ProcessEnd, ProcessKey, ProcessStart, ThreadKey, Timings};
    use super::*;

    fn started(argv: &[&[u8]]) -> Update {
        let key = ProcessKey {
            owner: Owner([0; 32]),
            process_id: ProcessId([0; 16]),
        };
        let start = ProcessStart {
            epoch: Epoch([0; 16]),
            boot_id: [0; 16],
            thread_id: Some("t".repeat(THREAD_ID_BYTES + 1).into()),
            turn: NonZeroU64::new(TURN_MAX + 1),
            step: Some("s".repeat(STEP_ID_BYTES + 1).into()),
            argv: argv.iter().map(|argument| Box::from(*argument)).collect(),
            argv_cut: false,
            cwd: vec![b'/'; 2 * CWD_BYTES].into(),
            accepted_unix_ns: 0,
            detached: false,
            parameters: [0; 32],
            trace: None,
        };
        let end = ProcessEnd {
            outcome: Outcome::FailedToStart(StartFailure::Invalid),
            message: Some("ü".repeat(MESSAGE_BYTES).into()),
            ended_unix_ns: 0,
            stdout_bytes: 0,
            stderr_bytes: 0,
            family: None,
            timings: Some(Timings {
                encoded: vec![0; TIMINGS_BYTES + 1].into(),
                slowest: None,
            }),
        };
        let mut patch = ProcessPatch::new(key);
        patch.start = Some(Arc::new(start));
        patch.end = Some(end);
        patch.into()
    }

    fn checked(mut update: Update) -> ProcessPatch {
        check(&mut update).unwrap();
        match update {
            Update::Process(patch) => patch,
            Update::Thread(_) => unreachable!("the update is of a process"),
        }
    }

    #[test]
    fn a_process_of_any_size_is_recorded_within_the_bounds() {
        let long = vec![b'x'; 1 << 20];
        let many = vec![&b""[..]; 100_000];
        for argv in [&[&b"tool"[..], &long, b"more"][..], &many, &[&long[..]; 3]] {
            let patch = checked(started(argv));
            let start = patch.start.as_ref().unwrap();
            assert!(start.argv_cut && start.cwd.len() == CWD_BYTES);
            assert_eq!((&start.thread_id, start.turn, &start.step), (&None, None, &None));
            let first = start.argv.iter().next().unwrap();
            assert!(first.starts_with(&argv[0][..argv[0].len().min(4)]));
            let end = patch.end.as_ref().unwrap();
            assert!(end.message.as_ref().unwrap().len() <= MESSAGE_BYTES && end.timings.is_none());
            assert!(patch.size() < 20 * 1024, "{}", patch.size());
        }
    }

    #[test]
    fn a_command_that_fits_is_kept_whole() {
        let patch = checked(started(&[b"echo", b"", b"\xff"]));
        let start = patch.start.unwrap();
        assert!(!start.argv_cut);
        assert_eq!(
            start.argv.iter().collect::<Vec<_>>(),
            [&b"echo"[..], b"", b"\xff"]
        );
    }

    #[test]
    fn a_thread_beyond_a_bound_is_refused_by_name() {
        let patch = |id: &str| {
            let key = ThreadKey {
                owner: Owner([0; 32]),
                thread_id: id.into(),
            };
            ThreadPatch::touch(key, 0)
        };
        let set = |values: BTreeMap<Box<str>, Option<Box<str>>>| ThreadPatch { values, ..patch("t") };
        let value = |key: usize, value: usize| -> BTreeMap<Box<str>, Option<Box<str>>> {
            [("k".repeat(key).into(), Some("v".repeat(value).into()))].into()
        };
        let refused = |patch: ThreadPatch| check(&mut patch.into()).is_err();
        assert!(refused(patch("")) && refused(patch(&"x".repeat(THREAD_ID_BYTES + 1))));
        assert!(!refused(patch(&"x".repeat(THREAD_ID_BYTES))));
        assert!(refused(set(value(0, 1))) && refused(set(value(VALUE_KEY_BYTES + 1, 1))));
        assert!(refused(set(value(1, VALUE_BYTES + 1))) && !refused(set(value(1, VALUE_BYTES))));
        let many = (0..=VALUES_PER_PATCH)
            .map(|n| (n.to_string().into(), None))
            .collect();
        assert!(refused(set(many)));
        let title = ThreadPatch {
            title: Some(Some("t".repeat(TITLE_BYTES + 1).into())),
            ..patch("t")
        };
        assert!(refused(title));
    }
}
