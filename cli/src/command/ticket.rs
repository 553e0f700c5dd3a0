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
                "generation {number}: earlier tickets are revoked. An exec-server that runs with {} uses the new \
                 generation within {} s, and prints or writes its new ticket as before; a stopped one does when it \
                 starts\n",
                key.display(),
                // One interval, and the registration.
                GENERATION_INTERVAL.as_secs() + 1
            ))?;
            Ok(0)
        }
    }
}
