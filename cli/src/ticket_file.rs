//! A ticket in a file or on standard input, so that it is not on a command line, which every process of the machine can
//! read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use baton_core_client::Ticket;
use baton_noise::access::Exposure;
use baton_regular_file::{OpenError, RegularFile};

use crate::error::CliError;
use crate::limits::TICKET_FILE_MAX;

/// The file name that selects standard input.
pub(crate) const STDIN: &str = "-";

/// The ticket of a line, without its `ticket:` label if it has one.
pub(crate) fn without_label(line: &str) -> &str {
    let line = line.trim();
    line.strip_prefix("ticket:").unwrap_or(line).trim_start()
}

/// Reads the ticket of a file that only its owner can access, or with `-` of the first line of standard input. The
/// command reads the rest of standard input.
pub(crate) fn read(path: &Path) -> Result<Ticket, CliError> {
    let failed = |source| CliError::TicketFile {
        path: path.into(),
        source,
    };
    if path.as_os_str() == STDIN {
        let line = first_line(io::stdin()).map_err(failed)?;
        return Ok(without_label(&line).parse()?);
    }
    // Opening a FIFO plainly would wait for a writer.
    let file = RegularFile::open(path).map_err(|error| match error {
        OpenError::Io(source) => failed(source),
        OpenError::NotRegular => CliError::TicketNotAFile { path: path.into() },
    })?;
    if let Some(exposure) = Exposure::of_secret(file.metadata()) {
        return Err(CliError::TicketExposed {
            path: path.into(),
            exposure,
        });
    }
    let text = file.read_to_string(TICKET_FILE_MAX).map_err(failed)?;
    Ok(without_label(&text).parse()?)
}

/// Reads byte by byte, because the command reads the bytes after the line.
fn first_line(input: impl AsFd) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while (line.len() as u64) < TICKET_FILE_MAX {
        match rustix::io::read(&input, &mut byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                crate::stdio::await_ready(&input, rustix::event::PollFlags::IN);
            }
            Err(error) => return Err(error.into()),
        }
    }
    String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a ticket atomically: a reader never sees a part of it.
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
        // Fails if the file was not created.
        let _ = fs::remove_file(new);
        CliError::Write {
            path: path.into(),
            source,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_ticket_file_that_is_open_to_others_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ticket");
        fs::write(&path, "baton1:x").unwrap();
        let read_with = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read(&path).unwrap_err()
        };
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666] {
            let error = read_with(mode).to_string();
            let command = format!("`chmod 600 {}`", path.display());
            assert!(error.contains(&command), "{mode:o}: {error}");
        }
        for mode in [0o600, 0o400] {
            assert!(matches!(read_with(mode), CliError::Ticket(_)), "{mode:o}");
        }
    }

    #[test]
    fn a_fifo_as_ticket_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ticket");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o600.into(), 0).unwrap();
        let (sender, result) = std::sync::mpsc::channel();
        let fifo = path.clone();
        std::thread::spawn(move || sender.send(read(&fifo).err()));
        let error = result.recv_timeout(std::time::Duration::from_secs(60));
        let error = error.expect("does not wait").expect("is refused").to_string();
        let expected = format!("the ticket file {} is not a regular file: ", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }

    #[test]
    fn of_standard_input_one_line_is_taken_and_no_byte_more() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        File::from(writer).write_all(b"ticket: t\nrest\nof it").unwrap();
        let mut reader = File::from(reader);
        assert_eq!(first_line(&reader).unwrap(), "ticket: t");
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "rest\nof it");
        assert_eq!(first_line(File::open("/dev/null").unwrap()).unwrap(), "");
        let endless = first_line(File::open("/dev/zero").unwrap()).unwrap();
        assert_eq!(endless.len() as u64, TICKET_FILE_MAX);
    }
}
