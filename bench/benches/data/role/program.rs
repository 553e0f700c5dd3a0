//! The two programs at the ends of every stream, with every transport. The producer writes bytes to its stdout. The
//! consumer reads its stdin and prints the number of bytes.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use baton_bench::Failure;
use baton_bench::worker::ROLE;

/// Bytes of one read or write: the default capacity of a pipe.
pub(crate) const PIECE: usize = 64 * 1024;

/// The interval between two bursts of a producer with a rate.
const BURST: Duration = Duration::from_millis(2);

/// The argv of a program that writes this many bytes, at full speed or at a rate.
pub(crate) fn producer(bytes: u64, bytes_per_second: Option<u64>) -> Result<Vec<String>, Failure> {
    let mut argv = vec![
        own_path()?,
        ROLE.to_owned(),
        "produce".to_owned(),
        bytes.to_string(),
    ];
    argv.extend(bytes_per_second.map(|rate| rate.to_string()));
    Ok(argv)
}

/// The argv of a program that reads its stdin to the end and prints the number of bytes.
pub(crate) fn consumer() -> Result<Vec<String>, Failure> {
    Ok(vec![own_path()?, ROLE.to_owned(), "consume".to_owned()])
}

/// Checks the number that a consumer printed.
pub(crate) fn check_count(printed: &[u8], bytes: u64) -> Result<(), Failure> {
    let printed = String::from_utf8_lossy(printed);
    match printed.trim().parse::<u64>() {
        Ok(count) if count == bytes => Ok(()),
        _ => Err(format!("of {bytes} bytes {printed:?} arrived").into()),
    }
}

fn own_path() -> Result<String, Failure> {
    let path = std::env::current_exe()?;
    Ok(path
        .to_str()
        .ok_or("the path of the benchmark is not UTF-8")?
        .to_owned())
}

/// Writes `bytes` bytes to stdout. Stops early, without an error, when the reader has closed the pipe.
pub(super) fn produce(bytes: u64, bytes_per_second: Option<u64>) -> Result<(), Failure> {
    // The standard library's stdout would buffer by line.
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let written = match bytes_per_second {
        None => write_zeros(&mut stdout, bytes),
        Some(rate) => paced(&mut stdout, bytes, rate),
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn paced(stdout: &mut File, bytes: u64, rate: u64) -> io::Result<()> {
    let started = Instant::now();
    let mut written = 0;
    while written < bytes {
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        let burst = due.min(bytes).saturating_sub(written);
        write_zeros(stdout, burst)?;
        written += burst;
        thread::sleep(BURST);
    }
    Ok(())
}

fn write_zeros(stdout: &mut impl Write, mut bytes: u64) -> io::Result<()> {
    let zeros = [0; PIECE];
    while bytes > 0 {
        let piece = bytes.min(PIECE as u64);
        stdout.write_all(&zeros[..piece as usize])?;
        bytes -= piece;
    }
    Ok(())
}

/// Reads stdin to its end and prints the number of bytes.
pub(super) fn consume() -> Result<(), Failure> {
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut piece = vec![0; PIECE];
    let mut count = 0u64;
    loop {
        match stdin.read(&mut piece)? {
            0 => break,
            read => count += read as u64,
        }
    }
    println!("{count}");
    Ok(())
}
