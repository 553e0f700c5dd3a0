//! `baton exec-server`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use baton_channel::allow::{AllowError, AllowList};
use baton_channel::key::Generation;
use baton_channel::limits::DRAIN_TIMEOUT;
use baton_channel::{Notice, Server, ServerConfig};
use baton_core_client::{Seed, SessionError};
use baton_exec_server::{CloneUnavailable, ExecServer, Settings, Shutdown};
use baton_trace::record::Side;
use baton_trace::text::counted;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::sync::watch;

use crate::args::{Durability, ExecServerArgs};
use crate::error::CliError;
use crate::exporters::Exporters;
use crate::limits::{EXEC_SERVER_FILES, PROCESS_FILES, STATE_SHUTDOWN, STATE_SHUTDOWN_LIMIT};
use crate::log_rate_limit::LogRateLimit;
use crate::published_ticket::PublishedTicket;
use crate::runtime::runtime;
use crate::signals::StopSignals;
use crate::{descriptor_limit, identity, logging, metadata, published_ticket, relay_connection};

pub(crate) fn main(args: ExecServerArgs) -> Result<i32, CliError> {
    logging::start("info");
    refuse_to_be_read();
    let open_files =
        descriptor_limit::raise(EXEC_SERVER_FILES + PROCESS_FILES * u64::from(args.max_processes));
    let roots = relay_connection::roots(args.relay_ca.as_deref())?;
    let allow_path = identity::path(args.allow.clone(), identity::ALLOWED_CLIENTS)?;
    let allow = AllowList::file(&allow_path)?;
    for problem in allow.problems() {
        log_line!("{}", allow_list_problem(&problem));
    }
    if allow.is_empty() {
        log_line!(
            "no client is allowed yet: add a line `key name trust` for each client to {}",
            allow_path.display()
        );
    }
    let key_path = identity::path(args.key.clone(), identity::EXEC_SERVER_KEY)?;
    let (seed, _) = Seed::read_or_create(&key_path)?;
    let generation = Generation::read(&key_path)?;
    let (rotate, dial_tokens) = watch::channel(seed.dial_token(generation));
    let mut exporting = Exporters::of_server();
    let recorder = exporting.start(Side::Server)?;
    let outcome: Result<(), CliError> = runtime()?.block_on(async {
        let config = ServerConfig {
            relay_roots: roots,
            recorder: recorder.clone().keeping_stages(),
            max_sessions: args.max_sessions as usize,
            dial_tokens: Some(dial_tokens),
            ..ServerConfig::default()
        };
        let server = Server::with_config(&args.relay, &seed, allow, config)?;
        // Ready before the ticket is published, because its readers may call at once.
        let id = server.ticket().exec_server;
        // Logged before the registration, because the operator of a relay with --allow-servers needs the id.
        log_line!("the id of this exec-server is {id}");
        let metadata = metadata::open(&args, id, server.epoch(), recorder)?;
        if let Some(warning) = relay_connection::warning(&args.relay) {
            log_line!("{warning}");
        }
        let ticket = Arc::new(PublishedTicket::new(server.ticket(), args.ticket_file.clone())?);
        let durability = match args.durability {
            Durability::Async => baton_metadata::Durability::Async,
            Durability::Start => baton_metadata::Durability::Start,
        };
        let settings = Settings {
            open_files,
            max_processes: args.max_processes as usize,
            spawn: args.spawn.into(),
            ..Settings::default()
        };
        let notice_log = NoticeLog {
            ticket: Arc::clone(&ticket),
            relay: args.relay.clone(),
            allow_path,
            rate_limits: Mutex::default(),
        };
        let flush_soon = metadata.hurry();
        let server = server.on_notice(move |notice| {
            // The records of an ended session are written at once.
            if matches!(notice, Notice::SessionEnded(..)) {
                flush_soon();
            }
            notice_log.handle(notice);
        });
        let health = metadata.health();
        let server = ExecServer::builder(server)
            .settings(settings)
            .records(metadata.records(durability))
            .service(metadata.service().into_server())
            .on_shutdown("records", STATE_SHUTDOWN_LIMIT, move || async move {
                metadata::log_unwritten(&metadata.shutdown(STATE_SHUTDOWN).await);
            })
            .build()?;
        let service = server.service().clone();
        if let Some(reason) = service.spawn_fallback() {
            log_line!("{}", fork_fallback_message(&reason));
        }
        let (mut first, mut second) = (StopSignals::new(), StopSignals::new());
        let stop = async {
            tokio::select! {
                _ = first.next() => {}
                () = metadata::log_health(health) => {}
                () = published_ticket::follow(&key_path, &seed, generation, &ticket, &rotate) => {}
            }
            if let Some(message) = shutdown_message(service.processes()) {
                log_line!("{message}");
            }
        };
        let cut = async {
            // The same signal twice: a service manager may send SIGHUP in addition to SIGTERM.
            let first = second.next().await;
            while second.next().await != first {}
        };
        let Shutdown {
            processes_left: left, ..
        } = server.serve_or_cut(stop, cut).await?;
        if left > 0 {
            let processes = counted(left as u64, "process", "processes");
            log_line!("{processes} could not be killed");
        }
        Ok(())
    });
    exporting.finish(&runtime()?, None);
    outcome?;
    Ok(0)
}

/// Keeps other processes of this user, including the commands that it runs, from reading keys and tickets in its
/// memory: no debugger may attach, it dumps no core, and its `/proc` files belong to root. Commands are not affected,
/// because execve resets the attribute.
fn refuse_to_be_read() {
    // Fails only for a value that the kernel does not define.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The message that commands are started by fork, with the reason.
fn fork_fallback_message(reason: &CloneUnavailable) -> String {
    format!(
        "commands are started by fork, because this machine or its sandbox does not support the faster clone \
         ({reason}); starts take longer the more memory this exec-server uses"
    )
}

/// The message at a stop signal, if commands still run.
fn shutdown_message(processes: usize) -> Option<String> {
    let run = counted(
        processes as u64,
        "command still runs and has",
        "commands still run and have",
    );
    let them = if processes == 1 { "it" } else { "them" };
    let left = DRAIN_TIMEOUT.as_secs();
    (processes > 0).then(|| format!("{run} {left} s to end; the same signal again ends {them} at once"))
}

/// Logs notices for the exec-server's owner.
struct NoticeLog {
    ticket: Arc<PublishedTicket>,
    relay: String,
    allow_path: PathBuf,
    rate_limits: Mutex<[LogRateLimit; NoticeKind::ALL.len()]>,
}

/// The notices that the relay or a holder of the ticket can cause at any rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoticeKind {
    Registered,
    Retrying,
    Refused,
    NotAccepted,
    ListUnusable,
}

impl NoticeKind {
    const ALL: [Self; 5] = [
        Self::Registered,
        Self::Retrying,
        Self::Refused,
        Self::NotAccepted,
        Self::ListUnusable,
    ];

    fn of(notice: &Notice) -> Option<Self> {
        match notice {
            Notice::Registered => Some(Self::Registered),
            Notice::Retrying(..) => Some(Self::Retrying),
            Notice::Refused(_) => Some(Self::Refused),
            Notice::AcceptFailed(_) => Some(Self::NotAccepted),
            Notice::AllowListUnusable(_) => Some(Self::ListUnusable),
            // Only an allowed client that completed a handshake causes these.
            Notice::SessionStarted(_) | Notice::SessionEnded(..) => None,
        }
    }

    fn counted(self, count: u64) -> String {
        let what = match self {
            Self::Registered => "it was registered",
            Self::Retrying => "it was not registered, and tried again",
            Self::Refused => "it refused a client that is not allowed",
            Self::NotAccepted => "a session could not be established",
            Self::ListUnusable => "the allow-list refused a client",
        };
        format!("and {} {what}", counted(count, "time more", "times more"))
    }
}

impl NoticeLog {
    fn handle(&self, notice: Notice) {
        let (counts, is_logged) = self.admit(&notice, Instant::now());
        for count in counts {
            log_line!("{count}");
        }
        if is_logged {
            self.log(notice);
        }
    }

    /// The messages with the numbers of suppressed notices, and whether this notice is logged.
    fn admit(&self, notice: &Notice, now: Instant) -> (Vec<String>, bool) {
        let mut rate_limits = self.rate_limits.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = NoticeKind::ALL
            .into_iter()
            .filter_map(|flood| Some(flood.counted(rate_limits[flood as usize].count(now)?)))
            .collect();
        let is_logged = NoticeKind::of(notice).is_none_or(|flood| rate_limits[flood as usize].admit(now));
        (counts, is_logged)
    }

    fn log(&self, notice: Notice) {
        match notice {
            Notice::Registered => self.ticket.registered(&self.relay),
            Notice::Retrying(error, wait) => {
                log_line!("{error}; trying again in {:.1} s", wait.as_secs_f64());
            }
            Notice::Refused(key) => {
                log_line!(
                    "refused a client that is not allowed; to allow it, {}",
                    allow_instruction(&self.allow_path)
                );
                stderr_line!("{key} NAME clamp");
            }
            Notice::AcceptFailed(reason) => log_line!("a session could not be established: {reason}"),
            // At debug level: a command usually has its own session, which would log two lines per command.
            Notice::SessionStarted(name) => tracing::debug!("session of {name} began"),
            Notice::SessionEnded(name, error, cut) => match session_end_message(&error, cut) {
                Some(how) => log_line!("session of {name} ended{how}"),
                None => tracing::debug!("session of {name} ended"),
            },
            Notice::AllowListUnusable(problem) => log_line!("{}", allow_list_problem(&problem)),
        }
    }
}

/// The end of a session for the log. `None` if a client disconnected without an open call; every other reason, like a
/// revoked key or a protocol violation, is logged.
fn session_end_message(error: &SessionError, cut: usize) -> Option<String> {
    match (cut, error) {
        (
            0,
            SessionError::Relay(_)
            | SessionError::ConnectionLost(_)
            | SessionError::GoAway(_)
            | SessionError::Unconfirmed
            | SessionError::Closed,
        ) => None,
        (0, error) => Some(format!(": {error}")),
        (1, error) => Some(format!(" with 1 call under way: {error}")),
        (_, error) => Some(format!(" with {cut} calls under way: {error}")),
    }
}

/// The problem of the allow-list, and which clients are refused because of it.
fn allow_list_problem(problem: &AllowError) -> String {
    let refused = match problem.is_of_one_line() {
        true => "the client of this line is refused until the line is fixed",
        false => {
            "no client is accepted until the list is fixed, and open sessions end when their keys are next renewed"
        }
    };
    format!("{problem}; {refused}")
}

fn allow_instruction(path: &Path) -> String {
    format!("add this line to {}:", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{LOG_LINES_PER_PERIOD, LOG_PERIOD};

    #[test]
    fn what_a_relay_or_a_ticket_can_cause_at_will_is_told_some_times_a_minute_and_then_counted() {
        let seed = Seed::from_bytes([1; 32]);
        let server = Server::new("http://127.0.0.1:7700", &seed, AllowList::default());
        let ticket = server.unwrap().ticket();
        let notice_log = NoticeLog {
            ticket: Arc::new(PublishedTicket::new(ticket, None).unwrap()),
            relay: String::new(),
            allow_path: PathBuf::new(),
            rate_limits: Mutex::default(),
        };
        let start = Instant::now();
        let key = *seed.client_key().unwrap().public();
        let flood = |n: u32| {
            [
                Notice::AcceptFailed(format!("a relay's text, different each time: {n}")),
                Notice::Refused(key),
                Notice::Registered,
            ]
        };
        let mut logged = 0;
        for n in 0..10_000 {
            for notice in flood(n) {
                let (counts, is_logged) = notice_log.admit(&notice, start);
                logged += u32::from(is_logged) + u32::try_from(counts.len()).unwrap();
            }
        }
        assert_eq!(logged, 3 * LOG_LINES_PER_PERIOD);
        // Other notices are not suppressed.
        let began = Notice::SessionStarted("laptop".into());
        assert_eq!(notice_log.admit(&began, start), (Vec::new(), true));
        let (counts, is_logged) = notice_log.admit(&began, start + LOG_PERIOD);
        let more = 10_000 - LOG_LINES_PER_PERIOD;
        assert!(
            counts.contains(&format!(
                "and {more} times more a session could not be established"
            )),
            "{counts:?}"
        );
        assert!(is_logged && counts.len() == 3, "{counts:?}");
    }

    #[test]
    fn a_client_that_leaves_is_no_news_and_one_that_is_cut_off_is() {
        let left = SessionError::Relay("its stream ended".into());
        assert_eq!(session_end_message(&left, 0), None);
        assert_eq!(session_end_message(&SessionError::Closed, 0), None);
        let cut = session_end_message(&left, 2).unwrap();
        assert!(cut.starts_with(" with 2 calls under way: "), "{cut}");
        let revoked = "its key was taken off the allow-list";
        assert_eq!(
            session_end_message(&SessionError::Revoked, 0),
            Some(format!(": {revoked}"))
        );
        assert_eq!(
            session_end_message(&SessionError::Revoked, 1),
            Some(format!(" with 1 call under way: {revoked}"))
        );
    }
}
