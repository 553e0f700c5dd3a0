//! The program on the terminal: as an editor or a shell with line editing does, it takes the terminal's own echo away,
//! reads each key and writes it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;

use baton_bench::Failure;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::READY;

/// Echoes until the terminal ends.
pub(super) fn main() -> Result<(), Failure> {
    let mut keyboard = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut screen = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut modes = tcgetattr(&keyboard)?;
    modes.make_raw();
    tcsetattr(&keyboard, OptionalActions::Now, &modes)?;
    screen.write_all(&[READY])?;
    let mut keys = [0; 64];
    // Reading fails when the terminal is closed.
    while let Ok(read @ 1..) = keyboard.read(&mut keys) {
        screen.write_all(&keys[..read])?;
    }
    Ok(())
}
