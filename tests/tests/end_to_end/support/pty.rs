//! A pseudo-terminal, and a program that has it as its standard streams.
//!
//! It is not the program's controlling terminal, so a test sends the signals of a terminal itself.

use std::fs::File;
use std::io::{PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll as poll_files};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::poll;
use super::running::heed_signals;

/// A pseudo-terminal, as a terminal emulator has it.
pub(crate) struct Pty {
    ours: File,
    theirs: OwnedFd,
    output: Arc<Mutex<Vec<u8>>>,
    /// Its end ends the reader, which has a descriptor of this side too.
    _reading: PipeWriter,
}

/// A program on a [`Pty`]. It is killed on drop.
pub(crate) struct OnPty {
    child: Child,
}

impl Pty {
    pub(crate) fn new(columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ioctl_tiocgptpeer(&ours, flags).unwrap();
        let ours = File::from(ours);
        let output = Arc::<Mutex<Vec<u8>>>::default();
        let (mut reader, all) = (ours.try_clone().unwrap(), Arc::clone(&output));
        let (ended, _reading) = pipe().unwrap();
        // Ends with the last descriptor of the other side, or with this value.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let mut ready = [
                    PollFd::new(&reader, PollFlags::IN),
                    PollFd::new(&ended, PollFlags::IN),
                ];
                poll_files(&mut ready, None).unwrap();
                if !ready[1].revents().is_empty() {
                    break;
                }
                let Ok(len @ 1..) = reader.read(&mut buffer) else {
                    break;
                };
                all.lock().unwrap().extend_from_slice(&buffer[..len]);
            }
        });
        let pty = Self {
            ours,
            theirs,
            output,
            _reading,
        };
        pty.resize(columns, rows);
        pty
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.ours, size).unwrap();
    }

    pub(crate) fn start(&self, mut command: Command) -> OnPty {
        heed_signals();
        let theirs = || Stdio::from(self.theirs.try_clone().unwrap());
        let child = command.stdin(theirs()).stdout(theirs()).stderr(theirs());
        OnPty {
            child: child.spawn().unwrap(),
        }
    }

    /// Types these keys.
    pub(crate) fn type_keys(&self, keys: &[u8]) {
        (&self.ours).write_all(keys).unwrap();
    }

    /// Closes it, as a closed window does. The program is not in the terminal's session, so it gets no SIGHUP.
    pub(crate) fn hang_up(self) {
        drop(self);
    }

    /// All that was shown.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// Waits until this is shown.
    #[track_caller]
    pub(crate) fn await_shown(&self, text: &str) {
        poll(text, || self.shown().contains(text).then_some(()));
    }

    fn attributes(&self) -> Termios {
        tcgetattr(&self.theirs).unwrap()
    }

    /// Whether it is in raw mode.
    pub(crate) fn is_raw(&self) -> bool {
        !self.attributes().local_modes.contains(LocalModes::ICANON)
    }

    /// The modes that raw mode changes.
    pub(crate) fn modes(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let attributes = self.attributes();
        (
            attributes.input_modes,
            attributes.output_modes,
            attributes.control_modes,
            attributes.local_modes,
        )
    }
}

impl OnPty {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; `None` if a signal killed it.
    pub(crate) fn exit_code(mut self) -> Option<i32> {
        poll("its end", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for OnPty {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
