//! Keeps every patch within its bounds before it enters the queue.
//!
//! What a process was is recorded whatever it was, so its record is cut. What a caller says of a thread is refused instead: half a
//! value is worse than none.

use std::sync::Arc;

use super::{ProcessPatch, ThreadPatch, Update};
use crate::limits::{
    ARGV_BYTES, CWD_BYTES, FAULT_BYTES, THREAD_ID_BYTES, TIMINGS_BYTES, TITLE_BYTES, VALUE_BYTES,
    VALUE_KEY_BYTES, VALUES_PER_PATCH,
};

/// What an argument counts beside its bytes, so that a thousand empty ones meet the bound too.
const ARGUMENT_BYTES: usize = 16;

/// Cuts what may be cut; names what may not.
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
        if argv > ARGV_BYTES || start.cwd.len() > CWD_BYTES || !id_fits {
            let start = Arc::make_mut(start);
            start.argv_cut |= cut_argv(&mut start.argv);
            if start.cwd.len() > CWD_BYTES {
                start.cwd = start.cwd[..CWD_BYTES].into();
            }
            if !id_fits {
                start.thread_id = None;
            }
        }
    }
    if let Some(end) = &mut patch.end {
        if let Some(fault) = end.fault.as_mut().filter(|fault| fault.len() > FAULT_BYTES) {
            *fault = fault[..fault.floor_char_boundary(FAULT_BYTES)].into();
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

fn cut_argv(argv: &mut Vec<Box<[u8]>>) -> bool {
    let mut left = ARGV_BYTES;
    for index in 0..argv.len() {
        let room = left.saturating_sub(ARGUMENT_BYTES);
        if argv[index].len() > room {
            argv[index] = argv[index][..room].into();
            argv.truncate(index + 1);
            argv.shrink_to_fit();
            return true;
        }
        left = room - argv[index].len();
    }
    false
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
