//! How a child that becomes another user reports its progress: by messages in a pipe, whose end means that it has
//! executed its program, or was killed. Another child that is created meanwhile has a copy of the pipe until its own exec,
//! so the end may come late; a failure does not.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::user::UserFailure;

/// A message: its kind, and a value. The kernel never divides one this small.
pub(super) type Message = [u64; 2];

/// The kinds of messages.
pub(super) mod kind {
    /// The value is the time by the child's clock, in nanoseconds. The child calls execve(2).
    pub(in crate::sys) const EXECUTES: u64 = 1;
    /// The value is the error, as of the kinds below.
    pub(in crate::sys) const IDENTITY: u64 = 2;
    pub(in crate::sys) const DIRECTORY: u64 = 3;
    pub(in crate::sys) const MISSING: u64 = 4;
    pub(in crate::sys) const PROGRAM: u64 = 5;
}

/// The bytes of a message.
const BYTES: usize = size_of::<Message>();

/// The parent's end of the pipe. Never waits.
#[derive(Debug)]
pub(crate) struct ReportReader {
    pipe: OwnedFd,
    /// What was read, up to the two messages of a failed exec.
    bytes: [u8; 2 * BYTES],
    length: usize,
}

/// What a child has reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported {
    Pending,
    /// With the time by the child's clock; `None`: it was killed before.
    Executed(Option<i64>),
    Failed(UserFailure),
}

/// The two ends. The child's is above the descriptors of its standard streams.
pub(super) fn report() -> io::Result<(ReportReader, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    let reader = ReportReader {
        pipe: reader,
        bytes: [0; 2 * BYTES],
        length: 0,
    };
    Ok((reader, fcntl_dupfd_cloexec(writer, 3)?))
}

impl ReportReader {
    /// What the child has reported so far.
    pub(crate) fn read(&mut self) -> Reported {
        let is_complete = loop {
            let left = &mut self.bytes[self.length..];
            if left.is_empty() {
                break true;
            }
            match retry_on_intr(|| rustix::io::read(&self.pipe, &mut *left)) {
                Ok(0) => break true,
                Ok(read) => self.length += read,
                Err(_would_block) => break false,
            }
        };
        let (mut executes, mut failed) = (None, None);
        for message in self.bytes[..self.length].chunks_exact(BYTES) {
            let (kind, value) = message.split_at(size_of::<u64>());
            let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
            let value = number(value);
            match number(kind) {
                kind::EXECUTES => executes = i64::try_from(value).ok(),
                kind::IDENTITY => failed = Some(UserFailure::Identity(errno(value))),
                kind::DIRECTORY => failed = Some(UserFailure::Directory(errno(value))),
                kind::MISSING => failed = Some(UserFailure::Missing),
                kind::PROGRAM => failed = Some(UserFailure::Program(errno(value))),
                _ => {}
            }
        }
        match failed {
            Some(failure) => Reported::Failed(failure),
            None if is_complete => Reported::Executed(executes),
            None => Reported::Pending,
        }
    }
}

/// The error that a message names.
fn errno(value: u64) -> Errno {
    match i32::try_from(value) {
        Ok(errno @ 1..=4095) => Errno::from_raw_os_error(errno),
        _ => Errno::IO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    const TIME_LIMIT: Timespec = Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };

    fn write(pipe: &OwnedFd, message: Message) {
        let bytes: Vec<u8> = message.into_iter().flat_map(u64::to_ne_bytes).collect();
        assert_eq!(rustix::io::write(pipe, &bytes), Ok(BYTES));
    }

    /// Reads until the report has ended. Other tests create children meanwhile, which have copies of the pipe.
    fn read_to_end(reader: &mut ReportReader) -> Reported {
        loop {
            let mut end = [PollFd::new(&reader.pipe, PollFlags::empty())];
            assert_eq!(poll(&mut end, Some(&TIME_LIMIT)), Ok(1), "the end came");
            let reported = reader.read();
            if reported != Reported::Pending {
                return reported;
            }
        }
    }

    #[test]
    fn the_end_of_the_report_is_the_exec_unless_an_error_comes_first() {
        let (mut reader, writer) = report().unwrap();
        assert_eq!(reader.read(), Reported::Pending);
        write(&writer, [kind::EXECUTES, 5]);
        assert_eq!(reader.read(), Reported::Pending);
        drop(writer);
        assert_eq!(read_to_end(&mut reader), Reported::Executed(Some(5)));

        let (mut reader, writer) = report().unwrap();
        write(&writer, [kind::EXECUTES, 5]);
        assert_eq!(reader.read(), Reported::Pending);
        write(&writer, [kind::PROGRAM, Errno::ACCESS.raw_os_error() as u64]);
        let failed = Reported::Failed(UserFailure::Program(Errno::ACCESS));
        assert_eq!(reader.read(), failed);
        drop(writer);
        assert_eq!(reader.read(), failed);

        let (mut reader, writer) = report().unwrap();
        drop(writer);
        assert_eq!(read_to_end(&mut reader), Reported::Executed(None));
    }
}
