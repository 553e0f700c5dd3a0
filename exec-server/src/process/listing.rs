//! What a client's list of its processes says of one: its argv, which goes to its owner only, and its state.

use baton_proto::exec::{Process, ProcessState};
use bytes::Bytes;

use super::launch::Launch;
use crate::limits::LISTED_ARGV_BYTES;

/// What does not change while a process runs. Kept for each, so it is small.
#[derive(Debug)]
pub(super) struct Description {
    argv: Vec<Bytes>,
    argv_cut: bool,
    thread: Option<Box<str>>,
    pub(super) pid: u32,
    pub(super) started_unix_ns: u64,
}

impl Description {
    /// Of a process that is about to be created.
    pub(super) fn of(launch: &Launch) -> Self {
        let (argv, argv_cut) = cut(launch.argv.iter().map(|argument| argument.to_bytes()));
        Self {
            argv,
            argv_cut,
            thread: launch.thread.as_ref().map(|thread| thread.id.as_str().into()),
            pid: 0,
            started_unix_ns: 0,
        }
    }

    /// The process as it is listed, without its id.
    pub(super) fn listed(&self, state: ProcessState) -> Process {
        Process {
            process_id: Bytes::new(),
            pid: self.pid,
            argv: self.argv.clone(),
            argv_cut: self.argv_cut,
            started_unix_ns: self.started_unix_ns,
            state: state.into(),
            thread_id: self.thread.as_deref().unwrap_or_default().into(),
        }
    }
}

/// The field header of an argument on the wire.
const HEADER: usize = 3;

/// Arguments of at most [`LISTED_ARGV_BYTES`] on the wire, in one allocation, and whether they are cut.
fn cut<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, bool) {
    let mut left = LISTED_ARGV_BYTES;
    let mut is_cut = false;
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for argument in arguments {
        let Some(room) = left.checked_sub(HEADER) else {
            is_cut = true;
            break;
        };
        let kept = argument.get(..room).unwrap_or(argument);
        bytes.extend_from_slice(kept);
        ends.push(bytes.len());
        left = room - kept.len();
        if kept.len() < argument.len() {
            is_cut = true;
            break;
        }
    }
    let mut rest = Bytes::from(bytes);
    let mut begin = 0;
    let argv = ends.into_iter().map(|end| {
        let argument = rest.split_to(end - begin);
        begin = end;
        argument
    });
    (argv.collect(), is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&[u8]]) -> (Vec<Bytes>, bool) {
        cut(arguments.iter().copied())
    }

    #[test]
    fn short_arguments_are_whole_and_long_ones_are_cut() {
        let (argv, is_cut) = of(&[b"sh", b"", b"-c", b"true"]);
        assert_eq!(argv, ["sh", "", "-c", "true"]);
        assert!(!is_cut);

        let long = vec![b'x'; LISTED_ARGV_BYTES];
        let (argv, is_cut) = of(&[b"echo", &long, b"more"]);
        assert!(is_cut && argv.len() == 2 && argv[0] == "echo");
        assert_eq!(argv[1].len(), LISTED_ARGV_BYTES - 4 - 2 * HEADER);

        let exact = vec![b'x'; LISTED_ARGV_BYTES - HEADER];
        let (argv, is_cut) = of(&[&exact]);
        assert!(!is_cut && argv == [&exact[..]]);
        assert!(of(&[&exact, b""]).1);
    }

    #[test]
    fn many_empty_arguments_are_bounded_too() {
        let none: &[u8] = b"";
        let (argv, is_cut) = of(&vec![none; 100_000]);
        assert!(is_cut);
        assert_eq!(argv.len(), LISTED_ARGV_BYTES / HEADER);
    }
}
