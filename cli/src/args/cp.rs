//! `baton cp`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::RemoteArgs;
use super::values::{connect_timeout, host, utf8};
use crate::copy_place::{CopyDirection, CopyPlace, CopyUsage};

#[derive(clap::Args)]
#[command(after_help = "\
NAME:PATH is a path of the exec-server that `baton host add` gave this NAME, `:PATH` one of the exec-server of --host,
--ticket-file, BATON_TICKET or BATON_TICKET_FILE. A relative PATH, or one that begins with `~/`, is relative to the
exec-server's default directory: the home directory of its user. A local file with a colon in its name is `./a:b`.

If DST is a directory, the copy is made in it, with the last name of SRC. Otherwise the copy gets the name DST. Files at
the destination are replaced in one step. A copy has the permission bits of its source, without set-user-ID, set-group-ID
and sticky bit. In a tree, symbolic links, devices, FIFOs and sockets are skipped, with a message.

With --json each line of standard output is an object with `event`: `copied`, `skipped` or `failed`, with `path` below
SRC; the last line is `done`, with totals.

Exit codes:
  0    everything was copied
  1    something was not copied or was skipped; a message on standard error names it
  2    invalid arguments
  255  Baton failed, as when the exec-server is not reached

Examples:
  baton cp notes.txt worker:
  baton cp -r worker:project/target/doc doc
  baton cp --ticket-file ticket -r src :/srv/project")]
pub(crate) struct CpArgs {
    /// What is copied: a path of this machine, or NAME:PATH
    #[arg(value_name = "SRC", value_parser = place())]
    pub(crate) source: CopyPlace,
    /// Where it is copied to: a path of this machine, or NAME:PATH
    #[arg(value_name = "DST", value_parser = place())]
    pub(crate) destination: CopyPlace,
    /// Copy directories with everything below them
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// Keep the part of a large file whose copy fails, as .NAME.baton-part beside it, and go on behind such a part if the
    /// source still begins with it
    #[arg(long)]
    pub(crate) resume: bool,
    /// Print one JSON object per line, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The exec-server of `:PATH`, by the name that `baton host add` gave it
    #[arg(long, value_name = "NAME", value_parser = utf8(host), conflicts_with = "ticket_file")]
    pub(crate) host: Option<String>,
    /// Read the ticket of the exec-server of `:PATH` from this file, or with `-` from the first line of standard input
    /// [env: BATON_TICKET or BATON_TICKET_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// This client's key file; created at first use [default: ~/.config/baton/client_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Verify a relay dialled by https with the certificates of this PEM file only [env: BATON_RELAY_CA] [default: the
    /// system's certificates]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// Retry connecting for this long while the relay or the exec-server is down, restarts or is full, like 5s or 2m;
    /// 0s is one attempt [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = utf8(connect_timeout))]
    pub(crate) connect_timeout: Option<Duration>,
    /// Show no progress, and do not warn about a relay without TLS
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl CpArgs {
    /// The direction, and the options that select the exec-server.
    pub(crate) fn split(self) -> Result<(CopyDirection, RemoteArgs), CopyUsage> {
        let (direction, name) = match (self.source, self.destination) {
            (CopyPlace::Local(from), CopyPlace::Remote { host, path: to }) => {
                (CopyDirection::Upload { from, to }, host)
            }
            (CopyPlace::Remote { host, path: from }, CopyPlace::Local(to)) => {
                (CopyDirection::Download { from, to }, host)
            }
            (CopyPlace::Local(_), CopyPlace::Local(_)) => return Err(CopyUsage::BothLocal),
            (CopyPlace::Remote { .. }, CopyPlace::Remote { .. }) => return Err(CopyUsage::BothRemote),
        };
        if name.is_some() && (self.host.is_some() || self.ticket_file.is_some()) {
            return Err(CopyUsage::TwoExecServers);
        }
        let remote = RemoteArgs {
            ticket: None,
            ticket_file: self.ticket_file,
            host: name.or(self.host),
            key: self.key,
            relay_ca: self.relay_ca,
            connect_timeout: self.connect_timeout,
            quiet: self.quiet,
        };
        Ok((direction, remote))
    }
}

fn place() -> impl TypedValueParser<Value = CopyPlace> {
    OsStringValueParser::new().try_map(|value: OsString| CopyPlace::parse(&value))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    #[test]
    fn one_of_both_places_is_remote_and_one_option_selects_its_exec_server() {
        let split = |words: &[&str]| {
            let line = ["baton", "cp"].iter().chain(words);
            let args = Args::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
            let Command::Cp(args) = args.command else {
                panic!("{words:?}")
            };
            args.split()
        };
        let (direction, remote) = split(&["-r", "a", "w:b"]).unwrap();
        let path = |text: &str| PathBuf::from(text);
        let (from, to) = (path("a"), path("b"));
        assert_eq!(direction, CopyDirection::Upload { from, to });
        assert_eq!(remote.host.as_deref(), Some("w"));
        let (direction, remote) = split(&["--ticket-file", "-", ":b", "a"]).unwrap();
        let (from, to) = (path("b"), path("a"));
        assert_eq!(direction, CopyDirection::Download { from, to });
        assert_eq!(remote.ticket_file, Some("-".into()));
        for (words, error) in [
            (&["a", "./b:c"][..], CopyUsage::BothLocal),
            (&["w:a", ":b"], CopyUsage::BothRemote),
            (&["--host", "w", "x:a", "b"], CopyUsage::TwoExecServers),
            (&["--ticket-file", "t", "x:a", "b"], CopyUsage::TwoExecServers),
        ] {
            assert_eq!(split(words).unwrap_err(), error, "{words:?}");
        }
    }
}
