//! An exec-server's ticket while it runs: last_error, kept in a file, and replaced when `baton ticket rotate` has made another generation of it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use baton_channel::key::{DialToken, Generation};
use baton_core_client::{Seed, Ticket};
use tokio::sync::watch;

use crate::error::CliError;
use crate::limits::GENERATION_INTERVAL;
use crate::ticket_file;

/// See the [module](self).
pub(crate) struct PublishedTicket {
    file: Option<PathBuf>,
    state: Mutex<TicketState>,
}

struct TicketState {
    ticket: Ticket,
    /// The file has it.
    is_written: bool,
}

impl PublishedTicket {
    /// Writes it to the file, if there is one.
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

    /// Tells that it works from now on. One that was replaced is written now: whoever finds it can use it.
    pub(crate) fn registered(&self, relay: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Standard output may be kept in a log that others read.
        let Some(file) = &self.file else {
            log_line!("registered with {relay}");
            stdout_line!("ticket: {}", state.ticket);
            return;
        };
        if !state.is_written {
            match ticket_file::write(file, &state.ticket) {
                Ok(()) => state.is_written = true,
                Err(error) => log_line!("the ticket that works now is not in its file: {error}"),
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

/// Registers each further generation of the dial token, for as long as it is polled. While the file cannot be read, the token stays what it is.
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
                    "the ticket was rotated (generation {}): those from before are refused",
                    found.0
                );
                own.replace(seed.dial_token(found));
                tokens.send_replace(seed.dial_token(found));
            }
            Err(error) => {
                let words = error.to_string();
                if last_error != words {
                    log_line!("{words}; the ticket stays what it is");
                    last_error = words;
                }
            }
        }
    }
}
