//! The local client: a pseudo-terminal of this machine, without a runtime.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use baton_bench::Failure;
use baton_bench::worker::{ROLE, answer_blocking};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use super::{KEY, PAUSE, READY, count};

/// Answers `keys COUNT` with the milliseconds of each echo.
pub(super) fn main() -> Result<(), Failure> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([ROLE, "echo"])
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs))
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut terminal = File::from(ours);
    expect(&mut terminal, READY)?;
    answer_blocking("ready", |request| {
        let count = count(request).ok_or_else(|| format!("no such task: {request}"))?;
        let one = |_| {
            sleep(PAUSE);
            let pressed = Instant::now();
            terminal.write_all(&[KEY])?;
            expect(&mut terminal, KEY)?;
            Ok(pressed.elapsed().as_secs_f64() * 1e3)
        };
        (0..count).map(one).collect()
    })?;
    // Its terminal hangs up.
    drop(terminal);
    child.wait()?;
    Ok(())
}

fn expect(terminal: &mut File, byte: u8) -> Result<(), Failure> {
    let mut read = [0];
    terminal.read_exact(&mut read)?;
    match read == [byte] {
        true => Ok(()),
        false => Err(format!("the terminal shows {read:?}").into()),
    }
}
