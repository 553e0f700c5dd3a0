//! `baton exec-server`.

mod notice_log;
mod users_log;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use baton_channel::allow::AllowList;
use baton_channel::key::Generation;
use baton_channel::limits::DRAIN_TIMEOUT;
use baton_channel::{Notice, Server, ServerConfig};
use baton_core_client::Seed;
use baton_exec_server::limits::GRACE_MAX;
use baton_exec_server::{Cgroups, CloneUnavailable, ExecServer, Settings, Shutdown, WarmService, check_user};
use baton_trace::record::Side;
use baton_trace::text::{counted, printable};
use rustix::process::{DumpableBehavior, child_subreaper, getpid, set_dumpable_behavior};
use tokio::sync::watch;

use self::notice_log::NoticeLog;
use self::users_log::UsersLog;
use crate::args::{Durability, ExecServerArgs};
use crate::error::CliError;
use crate::exporters::Exporters;
use crate::limits::{EXEC_SERVER_FILES, PROCESS_FILES, STATE_SHUTDOWN, STATE_SHUTDOWN_LIMIT};
use crate::published_ticket::PublishedTicket;
use crate::runtime::runtime;
use crate::signals::StopSignals;
use crate::{descriptor_limit, identity, logging, metadata, published_ticket, relay_connection};

pub(crate) fn main(args: ExecServerArgs) -> Result<i32, CliError> {
    logging::start("info");
    refuse_to_be_read();
    let open_files =
        descriptor_limit::raise(EXEC_SERVER_FILES + PROCESS_FILES * u64::from(args.max_processes));
    if let Some(user) = &args.user {
        check_user(user).map_err(|error| CliError::User {
            user: printable(user).into_owned(),
            error,
        })?;
    }
    let roots = relay_connection::roots(args.relay_ca.as_deref())?;
    let allow_path = identity::path(args.allow.clone(), identity::ALLOWED_CLIENTS)?;
    let allow = AllowList::file(&allow_path)?;
    for problem in allow.problems() {
        log_line!("{}", notice_log::allow_list_problem(&problem));
    }
    for user in allow.users() {
        if let Err(error) = check_user(&user) {
            log_line!("clients with user=\"{user}\" on the allow-list cannot run commands: {error}");
        }
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
        let stop_timeout = args.stop_timeout.unwrap_or(DRAIN_TIMEOUT);
        let config = ServerConfig {
            relay_roots: roots,
            recorder: recorder.clone().keeping_stages(),
            max_sessions: args.max_sessions as usize,
            drain_timeout: stop_timeout,
            dial_tokens: Some(dial_tokens),
            ..ServerConfig::default()
        };
        // Before the ticket is published, because its readers may call at once.
        let cgroups = cgroups(args.cgroup.as_deref(), args.memory_max)?;
        let server = Server::with_config(&args.relay, &seed, allow, config)?;
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
            max_grace: args.max_grace.unwrap_or(GRACE_MAX),
            user: args.user.clone(),
            cgroups,
            reap_orphans: adopts_orphans(),
            ..Settings::default()
        };
        let users_log = UsersLog::default();
        let notice_log = NoticeLog::new(Arc::clone(&ticket), args.relay.clone(), allow_path);
        let flush_soon = metadata.hurry();
        let server = server.on_notice(move |notice| {
            // The records of an ended session are written at once.
            if matches!(notice, Notice::SessionEnded(..)) {
                flush_soon();
            }
            notice_log.handle(notice);
        });
        let health = metadata.health();
        let warm = WarmService::default();
        let server = ExecServer::builder(server)
            .settings(settings)
            .records(metadata.records(durability))
            .on_user_refused(Arc::new(move |refused| users_log.handle(refused)))
            .service(metadata.service().into_server())
            .service(warm.clone().into_server())
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
            // They are open for as long as their clients run, and would delay the shutdown.
            warm.close();
            if let Some(message) = shutdown_message(service.processes(), stop_timeout) {
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

/// The cgroups of commands. Without the memory controller the owner is told what that means.
fn cgroups(directory: Option<&Path>, memory_max: Option<usize>) -> Result<Option<Cgroups>, CliError> {
    let Some(path) = directory else { return Ok(None) };
    let opened = Cgroups::open(path, memory_max.map(|bytes| bytes as u64));
    let cgroups = opened.map_err(|error| CliError::Cgroup {
        path: path.to_owned(),
        error,
    })?;
    if let Some(why) = cgroups.without_memory() {
        log_line!("commands that run out of memory are not told apart from others that are killed: {why}");
    }
    Ok(Some(cgroups))
}

/// Whether the orphans of commands become children of this process: it is the first process of a container, or a
/// program that has executed it has made it a subreaper.
fn adopts_orphans() -> bool {
    let is_subreaper = || child_subreaper().is_ok_and(|reaper| reaper.is_some());
    getpid().is_init() || is_subreaper()
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
fn shutdown_message(processes: usize, stop_timeout: Duration) -> Option<String> {
    let run = counted(
        processes as u64,
        "command still runs and has",
        "commands still run and have",
    );
    let them = if processes == 1 { "it" } else { "them" };
    let left = humantime::format_duration(stop_timeout);
    (processes > 0).then(|| format!("{run} {left} to end; the same signal again ends {them} at once"))
}
