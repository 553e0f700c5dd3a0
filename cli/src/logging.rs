//! Log lines on stderr. `BATON_LOG` takes tracing-subscriber's filter syntax.

use std::env::{VarError, var};
use std::io::{IsTerminal as _, stderr};
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;

/// Starts logging with the filter of `BATON_LOG`, or with `default` if it is not set.
pub(crate) fn start(default: &str) {
    let filter = wanted(var("BATON_LOG")).unwrap_or_else(|| default.into());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|error| {
        stderr_line!(
            "baton: BATON_LOG is ignored: {error}; set it to a filter like `debug` or `baton_relay=debug`"
        );
        EnvFilter::new(default)
    });
    // Fails only if a subscriber is already set.
    let _ = set_global_default(lines(filter));
}

/// Starts logging of errors, or with the filter of `BATON_LOG`. Without that variable, the subscriber is built at the
/// first error, because building it delays a short command.
pub(crate) fn errors_only() {
    match wanted(var("BATON_LOG")) {
        None => {
            let _ = set_global_default(ErrorsOnly::default());
        }
        Some(_) => start("error"),
    }
}

/// The filter of the environment variable. An empty variable, or one that is not UTF-8, counts as unset.
fn wanted(variable: Result<String, VarError>) -> Option<String> {
    variable.ok().filter(|filter| !filter.is_empty())
}

/// A subscriber that writes lines.
fn lines(filter: EnvFilter) -> impl Subscriber + Send + Sync {
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_target(false)
        .with_ansi(stderr().is_terminal())
        .finish()
}

/// Forwards errors to a subscriber that is built at the first error. Spans are never enabled.
#[derive(Default)]
struct ErrorsOnly {
    lines: OnceLock<Box<dyn Subscriber + Send + Sync>>,
}

impl ErrorsOnly {
    fn lines(&self) -> &dyn Subscriber {
        self.lines
            .get_or_init(|| Box::new(lines(EnvFilter::new("error"))))
    }
}

impl Subscriber for ErrorsOnly {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.enabled(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        self.lines().event(event);
    }

    // Not called, because no span is enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;

    use super::*;

    #[test]
    fn an_empty_variable_changes_no_filter() {
        assert_eq!(wanted(Err(VarError::NotPresent)), None);
        assert_eq!(wanted(Ok(String::new())), None);
        assert_eq!(wanted(Ok("debug".into())), Some("debug".into()));
    }

    #[test]
    fn nothing_is_prepared_before_the_first_error() {
        let errors = std::sync::Arc::new(ErrorsOnly::default());
        with_default(std::sync::Arc::clone(&errors), || {
            tracing::warn!("not logged");
            let _entered = tracing::error_span!("not enabled").entered();
            assert!(errors.lines.get().is_none());
            tracing::error!("logged on stderr of this test");
            assert!(errors.lines.get().is_some());
        });
    }
}
