//! A ticket in a file, so that it need not pass through a command line, which every process of the machine can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use baton_client::Ticket;

use crate::error::CliError;
use crate::limits::TICKET_FILE_MAX;

/// The ticket of a `ticket:` line, or of a line without that word.
pub(crate) fn bare(line: &str) -> &str {
    let line = line.trim();
    line.strip_prefix("ticket:").unwrap_or(line).trim_start()
}

/// Reads the one ticket of a file.
pub(crate) fn read(path: &Path) -> Result<Ticket, CliError> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?
            .take(TICKET_FILE_MAX)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|source| CliError::TicketFile {
        path: path.into(),
        source,
    })?;
    Ok(bare(&text).parse()?)
}

/// Writes a ticket, whole or not at all: a reader never finds half of one.
pub(crate) fn write(path: &Path, ticket: &Ticket) -> Result<(), CliError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = Path::new(&name);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(new)?;
        writeln!(file, "{ticket}")?;
        fs::rename(new, path)
    };
    write().map_err(|source| {
        // It may not be there.
        let _ = fs::remove_file(new);
        CliError::Write {
            path: path.into(),
            source,
        }
    })
}
