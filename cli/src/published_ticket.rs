//! The ticket of a running exec-server: printed or written to a file, and replaced after `baton ticket rotate`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use baton_channel::key::{DialToken, Generation};
use baton_core_client::{Seed, Ticket};
use tokio::sync::watch;

use crate::error::CliError;
use crate::limits::GENERATION_INTERVAL;
use crate::ticket_file;

/// The current ticket, and the file that it is written to.
pub(crate) struct PublishedTicket {
    file: Option<PathBuf>,
    state: Mutex<TicketState>,
}

struct TicketState {
    ticket: Ticket,
    /// The file contains the ticket.
    is_written: bool,
}

impl PublishedTicket {
    /// Writes the ticket to the file, if there is one.
    pub(crate) fn new(ticket: Ticket, file: Option<PathBuf>) -> Result<Self, CliError> {
        if let Some(file) = &file {
            ticket_file::write(file, &ticket)?;
        }
        let state = TicketState {
            ticket,
            is_written: true,
        };
        Ok(Self {
            file,
            state: Mutex::new(state),
        })
    }

    /// Publishes the ticket after the registration that makes it valid: prints it, or writes a replaced one to the
    /// file.
    pub(crate) fn registered(&self, relay: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // With a file the ticket is not printed: standard output may go to a log that others read.
        let Some(file) = &self.file else {
            log_line!("registered with {relay}");
            stdout_line!("ticket: {}", state.ticket);
            return;
        };
        if !state.is_written {
            match ticket_file::write(file, &state.ticket) {
                Ok(()) => state.is_written = true,
                Err(error) => log_line!("the current ticket is not in its file: {error}"),
            }
        }
        log_line!("registered with {relay}; the ticket is in {}", file.display());
    }

    fn replace(&self, dial_token: DialToken) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ticket.dial_token = dial_token;
        state.is_written = false;
    }
}

/// Registers each new generation of the dial token, until it is dropped. While the file cannot be read, the token
/// stays.
pub(crate) async fn follow(
    key: &Path,
    seed: &Seed,
    mut generation: Generation,
    own: &PublishedTicket,
    tokens: &watch::Sender<DialToken>,
) {
    let mut last_error = String::new();
    loop {
        tokio::time::sleep(GENERATION_INTERVAL).await;
        match Generation::read(key) {
            Ok(found) if found == generation => {}
            Ok(found) => {
                generation = found;
                log_line!(
                    "the ticket was rotated (generation {}): earlier tickets are refused",
                    found.0
                );
                own.replace(seed.dial_token(found));
                tokens.send_replace(seed.dial_token(found));
            }
            Err(error) => {
                let words = error.to_string();
                if last_error != words {
                    log_line!("{words}; the current ticket stays valid");
                    last_error = words;
                }
            }
        }
    }
}
