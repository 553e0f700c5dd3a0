//! Log lines on stderr. `BATON_LOG` takes tracing-subscriber's filter syntax.

use tracing_subscriber::EnvFilter;

/// Starts logging at `default` unless `BATON_LOG` says otherwise.
pub(crate) fn start(default: &str) {
    let filter = std::env::var("BATON_LOG").unwrap_or_else(|_| default.into());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|error| {
        tell!("baton: BATON_LOG is ignored: {error}");
        EnvFilter::new(default)
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}
