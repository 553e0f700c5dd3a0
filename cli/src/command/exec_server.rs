//! `baton exec-server`.

use std::path::{Path, PathBuf};

use baton_channel::allow::AllowList;
use baton_channel::{Notice, Routes, Server};
use baton_client::{Seed, SessionError, Ticket};
use baton_exec_server::ExecService;
use baton_trace::record::Side;

use super::runtime;
use crate::args::{Durability, ExecServerArgs};
use crate::error::CliError;
use crate::exporting::Exporting;
use crate::limits::{EXEC_SERVER_FILES, STATE_SHUTDOWN};
use crate::{descriptors, identity, logging, outer, signals, state, ticket_file};

pub(crate) fn main(args: ExecServerArgs) -> Result<i32, CliError> {
    logging::start("info");
    descriptors::allow(EXEC_SERVER_FILES);
    let roots = outer::roots(args.relay_ca.as_deref())?;
    let allow_path = identity::path(args.allow.clone(), identity::ALLOWED_CLIENTS)?;
    let allow = AllowList::file(&allow_path)?;
    if allow.is_empty() {
        tell!(
            "baton: nobody is allowed yet: add a line `key name trust` for each client to {}",
            allow_path.display()
        );
    }
    let (seed, _) = Seed::read_or_create(&identity::path(args.key.clone(), identity::EXEC_SERVER_KEY)?)?;
    let exporting = Exporting::start(Side::Server)?;
    let outcome: Result<(), CliError> = runtime()?.block_on(async {
        let server = Server::new(&args.relay, &seed, allow)?;
        // Before the ticket is told: whoever reads it may call.
        let id = server.ticket().exec_server;
        let keeper = state::open(&args, id, server.epoch(), exporting.recorder())?;
        let recorder = match keeper {
            Some(_) => exporting.recorder().keeping_stages(),
            None => exporting.recorder(),
        };
        let server = server.relay_roots(roots).recorder(recorder);
        outer::warn_if_exposed(&args.relay);
        if let Some(path) = &args.ticket_file {
            ticket_file::write(path, &server.ticket())?;
        }
        let mut service = ExecService::new(server.epoch());
        if let Some(keeper) = &keeper {
            service = service.records(keeper.records(match args.durability {
                Durability::Async => baton_meta::Durability::Async,
                Durability::Start => baton_meta::Durability::Start,
            }));
        }
        let teller = Teller {
            ticket: server.ticket(),
            relay: args.relay.clone(),
            allow_path,
        };
        let exec = service.clone().into_server();
        let stop = async {
            signals::stop().await;
        };
        let outcome = match &keeper {
            Some(keeper) => {
                let hurry = keeper.hurry();
                let server = server.on_notice(move |notice| {
                    // A client that has gone finds what it did on disk, if the disk will.
                    if matches!(notice, Notice::SessionEnded(..)) {
                        hurry();
                    }
                    teller.tell(notice);
                });
                let routes = Routes::new(exec, keeper.service().into_server());
                tokio::select! {
                    outcome = server.serve(routes, stop) => outcome,
                    () = state::watch(keeper) => Ok(()),
                }
            }
            None => {
                let server = server.on_notice(move |notice| teller.tell(notice));
                server.serve(exec, stop).await
            }
        };
        let left = service.shutdown().await;
        if left > 0 {
            tell!("baton: {left} processes could not be killed");
        }
        if let Some(keeper) = keeper {
            state::tell_left(&keeper.shutdown(STATE_SHUTDOWN).await);
        }
        Ok(outcome?)
    });
    exporting.finish();
    outcome?;
    Ok(0)
}

/// Tells the owner what happens.
struct Teller {
    ticket: Ticket,
    relay: String,
    allow_path: PathBuf,
}

impl Teller {
    fn tell(&self, notice: Notice) {
        match notice {
            Notice::Registered => {
                tell!("baton: registered with {}", self.relay);
                say!("ticket: {}", self.ticket);
            }
            Notice::Retrying(error, wait) => {
                tell!("baton: {error}; trying again in {:.1} s", wait.as_secs_f64());
            }
            Notice::Refused(key) => {
                tell!(
                    "baton: refused a client that is not allowed; to allow it, {}",
                    add_line(&self.allow_path)
                );
                tell!("{key} NAME clamp");
            }
            Notice::AcceptFailed(reason) => tell!("baton: a session did not come about: {reason}"),
            Notice::SessionStarted(name) => tell!("baton: session of {name} began"),
            Notice::SessionEnded(name, error, cut) => {
                tell!("baton: session of {name} ended{}", how_it_ended(&error, cut));
            }
            Notice::AllowListUnusable(problem) => {
                tell!("baton: {problem}; no client is let in until the list is right");
            }
        }
    }
}

/// Clients come and go. What else ends a session, a key taken off the list or a peer that breaks the protocol, is told whether or not
/// it cut a call short.
fn how_it_ended(error: &SessionError, cut: usize) -> String {
    match (cut, error) {
        (0, SessionError::Relay(_) | SessionError::GoAway(_) | SessionError::Closed) => String::new(),
        (0, error) => format!(": {error}"),
        (1, error) => format!(" with 1 call under way: {error}"),
        (_, error) => format!(" with {cut} calls under way: {error}"),
    }
}

fn add_line(path: &Path) -> String {
    format!("add this line to {}:", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_leaves_is_no_news_and_one_that_is_cut_off_is() {
        let left = SessionError::Relay("its stream ended".into());
        assert_eq!(how_it_ended(&left, 0), "");
        assert_eq!(how_it_ended(&SessionError::Closed, 0), "");
        assert!(how_it_ended(&left, 2).starts_with(" with 2 calls under way: "));
        let revoked = "its key was taken off the allow-list";
        assert_eq!(how_it_ended(&SessionError::Revoked, 0), format!(": {revoked}"));
        assert_eq!(
            how_it_ended(&SessionError::Revoked, 1),
            format!(" with 1 call under way: {revoked}")
        );
    }
}
