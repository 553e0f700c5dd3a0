//! This process's terminal in raw mode: every key is a byte for the command, also Ctrl-C.
//!
//! The terminal is restored when the [`RawTerminal`] is dropped, by [`restore`] at the end of `main`, and before a panic
//! prints its message. Signals that stop this process are handled, so they end in `main` as well.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The attributes before raw mode, while it lasts.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether raw mode lasts and standard error is a terminal, for [`line_end`].
static NEEDS_RETURN: AtomicBool = AtomicBool::new(false);

/// Raw mode of the terminal that is standard input. Dropping it restores the terminal.
#[derive(Debug)]
pub(crate) struct RawTerminal(());

impl RawTerminal {
    /// Begins raw mode. Keys that were pressed before are kept.
    ///
    /// # Errors
    /// Standard input is not a terminal, or its terminal is gone.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        restore_before_a_panic_message();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // From here on dropping it restores the terminal, also if this fails.
        let entered = Self(());
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        NEEDS_RETURN.store(io::stderr().is_terminal(), Ordering::Relaxed);
        Ok(entered)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Ends raw mode, if it lasts. Does not wait for a terminal that takes no output.
pub(crate) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        NEEDS_RETURN.store(false, Ordering::Relaxed);
        // Fails if the terminal is gone.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    }
}

/// Panics of other threads too: their messages must be readable, and a later abort must not leave raw mode behind.
fn restore_before_a_panic_message() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            print(panic);
        }));
    });
}

/// The end of a line on standard error. A raw terminal does not return to the first column at a line feed.
pub(crate) fn line_end() -> &'static str {
    match NEEDS_RETURN.load(Ordering::Relaxed) {
        true => "\r\n",
        false => "\n",
    }
}

/// What precedes a line of Baton's own between the output of a command: in raw mode the cursor may be anywhere.
pub(crate) fn line_start() -> &'static str {
    match NEEDS_RETURN.load(Ordering::Relaxed) {
        true => "\r\n",
        false => "",
    }
}
