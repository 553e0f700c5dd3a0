//! `baton host`: names for exec-servers.

use std::path::Path;

use baton_core_client::Ticket;
use baton_trace::text::printable;
use serde_json::json;

use crate::args::{HostAddArgs, HostCommand, HostListArgs, HostRemoveArgs};
use crate::error::CliError;
use crate::hosts::{self, Added, Hosts};
use crate::stdio::page;
use crate::table::{Column, Row, Terminal, draw};
use crate::{identity, record, ticket_file};

const COLUMNS: [Column; 3] = [
    Column::left("HOST"),
    Column::left("RELAY"),
    Column::left("KEY").spare(1),
];

pub(crate) fn main(command: HostCommand) -> Result<i32, CliError> {
    let hosts = Hosts::new(identity::path(None, hosts::FILE)?);
    match command {
        HostCommand::Add(HostAddArgs { name, ticket }) => {
            let ticket = match &*ticket {
                ticket_file::STDIN => ticket_file::read(Path::new(ticket_file::STDIN))?,
                given => ticket_file::without_label(given).parse()?,
            };
            match hosts.add(&name, &ticket)? {
                Added::New => stderr_line!("baton: added {name}; try `baton exec --host {name} -- uname -a`"),
                Added::Updated => stderr_line!("baton: replaced the ticket of {name}; its key is the same"),
                Added::Unchanged => stderr_line!("baton: {name} is as it was"),
            }
        }
        HostCommand::List(HostListArgs { json }) => list(&hosts, json)?,
        HostCommand::Remove(HostRemoveArgs { name }) => {
            hosts.remove(&name)?;
            stderr_line!("baton: removed {name}");
        }
    }
    Ok(0)
}

fn list(hosts: &Hosts, is_json: bool) -> Result<(), CliError> {
    let found = hosts.read()?;
    if is_json {
        let lines = found
            .iter()
            .map(|(name, text)| record::line(&as_json(name, text)));
        return page(&lines.collect::<String>());
    }
    if found.is_empty() {
        stderr_line!("baton: no hosts; `baton host add NAME TICKET` adds one");
        return Ok(());
    }
    let rows: Vec<Row> = found.iter().map(|(name, text)| row(name, text)).collect();
    page(&draw(&COLUMNS, &rows, Terminal::of_stdout()))
}

fn row(name: &str, text: &str) -> Row {
    let (relay, key, is_bad) = match text.parse::<Ticket>() {
        Ok(ticket) => (
            printable(&ticket.relay_url).into_owned(),
            ticket.noise_key.to_string(),
            false,
        ),
        Err(error) => (error.to_string(), String::new(), true),
    };
    Row {
        cells: vec![name.to_owned(), relay, key],
        is_bad,
    }
}

/// Without the ticket, which is a secret.
fn as_json(name: &str, text: &str) -> serde_json::Value {
    match text.parse::<Ticket>() {
        Ok(ticket) => json!({
            "host": name,
            "relay": ticket.relay_url,
            "key": ticket.noise_key.to_string(),
        }),
        Err(error) => json!({ "host": name, "error": error.to_string() }),
    }
}
