//! The commands: what they write to their stdout, and its check.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use baton_bench::Failure;
use baton_bench::worker::ROLE;
use baton_core_client::{Command, ExitStatus};

/// How long a command outlives its session.
pub(super) const GRACE: Duration = Duration::from_secs(60);

/// Bytes of the largest piece: several packets.
const PIECE_MAX: u64 = 8 * 1024;

/// The pause between two pieces of the command that writes all the time.
const WRITE_ON_PAUSE: Duration = Duration::from_millis(20);

/// The number of the command that writes all the time.
pub(super) const WRITE_ON: u32 = 0;

/// What a command does, which follows from its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) number: u32,
    /// Pieces of output; 0 is none.
    pub(super) pieces: u32,
}

impl Job {
    /// The job of command `number`: from no output to `pieces` pieces.
    pub(super) fn new(number: u32, pieces: u32) -> Self {
        let pieces = hash(u64::from(number), 1) % (u64::from(pieces) + 1);
        Self {
            number,
            // At most the `pieces` above.
            pieces: pieces as u32,
        }
    }

    /// Bytes of one piece.
    fn piece_bytes(self) -> u64 {
        1 + hash(u64::from(self.number), 2) % PIECE_MAX
    }

    /// Bytes of the whole output.
    pub(super) fn bytes(self) -> u64 {
        u64::from(self.pieces) * self.piece_bytes()
    }

    /// Its exit code.
    pub(super) fn status(self) -> ExitStatus {
        ExitStatus::Code(code(self.number))
    }

    /// The command, which appends its number to `file`.
    pub(super) fn command(self, file: &str, pause_ms: u64) -> Result<Command, Failure> {
        let Self { number, pieces } = self;
        own(&[
            "write",
            file,
            &number.to_string(),
            &pieces.to_string(),
            &pause_ms.to_string(),
        ])
    }
}

/// The command that writes until its stdin ends.
pub(super) fn endless(file: &str) -> Result<Command, Failure> {
    own(&["write-on", file])
}

fn own(arguments: &[&str]) -> Result<Command, Failure> {
    let command = Command::new(std::env::current_exe()?).arg(ROLE);
    Ok(command.args(arguments).grace(GRACE))
}

fn code(number: u32) -> i32 {
    (number % 256).cast_signed()
}

/// The output of a command, checked as it arrives. A byte that is lost or repeated moves all that follow, which then
/// differ too.
#[derive(Debug)]
pub(super) struct Checked {
    number: u32,
    bytes: u64,
    wrong: u64,
    has_gap: bool,
}

impl Checked {
    pub(super) fn new(number: u32) -> Self {
        Self {
            number,
            bytes: 0,
            wrong: 0,
            has_gap: false,
        }
    }

    pub(super) fn take(&mut self, data: &[u8]) {
        if self.has_gap {
            self.bytes += data.len() as u64;
            return;
        }
        for byte in data {
            self.wrong += u64::from(*byte != byte_at(self.number, self.bytes));
            self.bytes += 1;
        }
    }

    /// Output is missing here. Bytes behind it are counted and not compared, because their offset is not known.
    pub(super) fn gap(&mut self) {
        self.has_gap = true;
    }

    /// Bytes that differ from the whole output, which has this many.
    pub(super) fn wrong(&self, bytes: u64) -> u64 {
        self.wrong + self.bytes.abs_diff(bytes)
    }

    /// Bytes that differ so far.
    pub(super) fn wrong_so_far(&self) -> u64 {
        self.wrong
    }
}

/// The byte at this offset of the output of a command.
fn byte_at(number: u32, offset: u64) -> u8 {
    hash(u64::from(number), offset / 8).to_le_bytes()[(offset % 8) as usize]
}

/// splitmix64.
fn hash(a: u64, b: u64) -> u64 {
    let mut mixed = (a << 40 ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Writes the output of a job, and exits with its code.
pub(super) fn write(file: &str, number: u32, pieces: u32, pause_ms: u64) -> Result<(), Failure> {
    append(file, number)?;
    let job = Job { number, pieces };
    let mut stdout = stdout()?;
    for piece in 0..u64::from(pieces) {
        if piece > 0 {
            sleep(Duration::from_millis(pause_ms));
        }
        write_piece(&mut stdout, number, piece * job.piece_bytes(), job.piece_bytes())?;
    }
    exit(code(number));
}

/// Writes until the end of stdin.
pub(super) fn write_on(file: &str) -> Result<(), Failure> {
    append(file, WRITE_ON)?;
    let has_ended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&has_ended);
    thread::spawn(move || {
        // There is no input but its end.
        let _ = io::stdin().read(&mut [0]);
        seen.store(true, Ordering::Relaxed);
    });
    let (mut stdout, mut offset) = (stdout()?, 0);
    while !has_ended.load(Ordering::Relaxed) {
        write_piece(&mut stdout, WRITE_ON, offset, 16)?;
        offset += 16;
        sleep(WRITE_ON_PAUSE);
    }
    exit(code(WRITE_ON));
}

/// The number is in the file as often as the command runs.
fn append(file: &str, number: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    // One write, so that the lines of several commands do not mix.
    file.write_all(format!("{number}\n").as_bytes())
}

/// Without the standard library's buffer.
fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

fn write_piece(stdout: &mut File, number: u32, from: u64, bytes: u64) -> io::Result<()> {
    let piece: Vec<u8> = (from..from + bytes)
        .map(|offset| byte_at(number, offset))
        .collect();
    stdout.write_all(&piece)
}
