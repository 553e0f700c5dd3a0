//! `baton relay`.

mod metrics;
mod metrics_endpoint;

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::available_parallelism;
use std::time::Duration;

use baton_relay::{AddressRange, AllowedServers, Config, Drain, DrainEnd, Limits, Relay, Tls};
use baton_trace::text::counted;

use self::metrics::RelayMetrics;
use self::metrics_endpoint::MetricsEndpoint;
use crate::args::RelayArgs;
use crate::error::CliError;
use crate::limits::{RELAY_DRAIN_DEFAULT, RELAY_FILES};
use crate::runtime::runtime_of;
use crate::signals::StopSignals;
use crate::{descriptor_limit, logging};

pub(crate) fn main(args: RelayArgs) -> Result<i32, CliError> {
    logging::start("info");
    let tls = match (args.tls_cert, args.tls_key) {
        (Some(cert), Some(key)) => Some(Tls::from_pem_files(&cert, &key)?),
        _ => None,
    };
    let allow_servers = args
        .allow_servers
        .as_deref()
        .map(AllowedServers::from_file)
        .transpose()?;
    let is_loopback = args.listen.ip().to_canonical().is_loopback();
    if allow_servers.is_none() && !is_loopback {
        log_line!(
            "any host that reaches this relay may register an exec-server and use up its slots; pass --allow-servers \
             with the ids of your exec-servers"
        );
    }
    if tls.is_none() && !is_loopback {
        log_line!(
            "connections to this relay are in clear text: the network can see ids, sizes, times and dial tokens; pass \
             --tls-cert and --tls-key, or terminate TLS in front of the relay"
        );
    }
    if args.proxy_protocol.iter().any(AddressRange::is_everything) {
        log_line!(
            "any host that reaches this relay may name any address as its own, so the limits for addresses protect \
             nobody; pass --proxy-protocol with the addresses of your balancers only"
        );
    }
    let cores = || available_parallelism().map_or(1, NonZero::get);
    let threads = args.threads.map_or_else(cores, |threads| threads as usize);
    runtime_of(threads)?.block_on(async {
        let config = Config {
            authorities: args.authority,
            balancers: args.proxy_protocol,
            allow_servers,
            limits: Limits {
                memory: args.memory,
                ..Limits::default()
            },
            tls,
        };
        descriptor_limit::raise(config.limits.connections as u64 + RELAY_FILES);
        // Before the relay says that it listens: a signal from then on drains it.
        let signals = StopSignals::new();
        let limits = config.limits.clone();
        let relay = Relay::bind(args.listen, config).await?;
        let endpoint = match args.metrics {
            Some(address) => Some(MetricsEndpoint::bind(address).await?),
            None => None,
        };
        stdout_line!("listening on {}", relay.local_addr());
        if let Some(endpoint) = endpoint {
            stdout_line!("counters at {}", endpoint.url());
            // Also while the relay drains; it ends with the runtime.
            tokio::spawn(endpoint.serve(RelayMetrics::new(relay.metrics(), limits)));
        }
        let stop = stop(signals, relay.drain(), args.drain.unwrap_or(RELAY_DRAIN_DEFAULT));
        let serving = relay.serve(stop);
        match threads {
            1 => serving.await,
            // On one of the threads that serve connections: this one only waits.
            _ => tokio::spawn(serving)
                .await
                .unwrap_or_else(|panicked| resume_unwind(panicked.into_panic())),
        }
        Ok(0)
    })
}

/// Waits for a stop signal, and then until sessions have ended or their time is over.
async fn stop(mut signals: StopSignals, drain: Drain, limit: Duration) {
    let first = signals.next().await;
    let sessions = drain.begin();
    log_line!("{}", begin_message(sessions, limit));
    let again = async {
        // The same signal twice: a service manager may send SIGHUP in addition to SIGTERM.
        while signals.next().await != first {}
    };
    let end = drain.finish(limit, again).await;
    // Otherwise the first message has said all.
    if sessions > 0 && !limit.is_zero() {
        log_line!("{}", end_message(end, drain.sessions(), limit));
    }
}

/// The message at the first signal.
fn begin_message(sessions: u64, limit: Duration) -> String {
    match sessions {
        0 => "stopping: no session is open".into(),
        _ if limit.is_zero() => format!("stopping: {}", ending(sessions)),
        _ => format!(
            "draining: {}, with {} to end; the same signal again ends {} at once",
            counted(sessions, "session", "sessions"),
            humantime::format_duration(limit),
            if sessions == 1 { "it" } else { "them" }
        ),
    }
}

/// The message when the drain is over.
fn end_message(end: DrainEnd, sessions: u64, limit: Duration) -> String {
    match end {
        DrainEnd::Finished => "drained: every session has ended".into(),
        DrainEnd::TimedOut => format!(
            "--drain {} is over: {}",
            humantime::format_duration(limit),
            ending(sessions)
        ),
        DrainEnd::Cut => format!("stopped again: {}", ending(sessions)),
    }
}

fn ending(sessions: u64) -> String {
    let counted = counted(sessions, "session", "sessions");
    format!("ending {counted}, whose clients reconnect")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(25);

    #[test]
    fn a_relay_that_drains_says_what_happens_and_how_to_end_it_at_once() {
        for (sessions, limit, message) in [
            (0, LIMIT, "stopping: no session is open"),
            (
                1,
                LIMIT,
                "draining: 1 session, with 25s to end; the same signal again ends it at once",
            ),
            (
                3,
                LIMIT,
                "draining: 3 sessions, with 25s to end; the same signal again ends them at once",
            ),
            (
                3,
                Duration::ZERO,
                "stopping: ending 3 sessions, whose clients reconnect",
            ),
        ] {
            assert_eq!(begin_message(sessions, limit), message);
        }
        for (end, message) in [
            (DrainEnd::Finished, "drained: every session has ended"),
            (
                DrainEnd::TimedOut,
                "--drain 25s is over: ending 2 sessions, whose clients reconnect",
            ),
            (
                DrainEnd::Cut,
                "stopped again: ending 2 sessions, whose clients reconnect",
            ),
        ] {
            assert_eq!(end_message(end, 2, LIMIT), message);
        }
    }
}
