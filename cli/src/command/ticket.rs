//! `baton ticket`: revokes a leaked ticket.

use baton_channel::key::Generation;

use crate::args::{TicketCommand, TicketRotateArgs};
use crate::error::CliError;
use crate::identity;
use crate::limits::GENERATION_INTERVAL;
use crate::stdio::page;

pub(crate) fn main(command: TicketCommand) -> Result<i32, CliError> {
    match command {
        TicketCommand::Rotate(TicketRotateArgs { key }) => {
            let key = identity::path(key, identity::EXEC_SERVER_KEY)?;
            let Generation(number) = Generation::advance(&key)?;
            page(&format!(
                "generation {number}: tickets from before are revoked. An exec-server that runs with {} takes this up within {} s, and then tells \
                 its new ticket where it told the one before; one that does not run, when it starts\n",
                key.display(),
                // A look, and the registration.
                GENERATION_INTERVAL.as_secs() + 1
            ))?;
            Ok(0)
        }
    }
}
