//! Logs, at a bounded rate, the commands that are not started because of the user that they have to run as. A client can
//! cause any number of them.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use baton_exec_server::UserRefused;
use baton_trace::text::counted;

use crate::log_rate_limit::LogRateLimit;

/// See the [module](self).
#[derive(Default)]
pub(super) struct UsersLog(Mutex<LogRateLimit>);

impl UsersLog {
    pub(super) fn handle(&self, refused: &UserRefused<'_>) {
        for line in self.lines(refused, Instant::now()) {
            log_line!("{line}");
        }
    }

    fn lines(&self, UserRefused { client, user, error }: &UserRefused<'_>, now: Instant) -> Vec<String> {
        let mut rate_limit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = rate_limit.count(now).map(|count| {
            let times = counted(count, "time more", "times more");
            format!("and {times} a command was not started because of its user")
        });
        let line = rate_limit
            .admit(now)
            .then(|| format!("a command of {client} was not started as the user {user}: {error}"));
        count.into_iter().chain(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use baton_exec_server::UserError;

    use super::*;
    use crate::limits::{LOG_LINES_PER_PERIOD, LOG_PERIOD};

    #[test]
    fn a_client_that_goes_on_does_not_fill_the_log() {
        let log = UsersLog::default();
        let start = Instant::now();
        let refused = UserRefused {
            client: "ci",
            user: "gone",
            error: &UserError::Unknown,
        };
        let lines: Vec<_> = (0..1_000).flat_map(|_| log.lines(&refused, start)).collect();
        assert_eq!(lines.len(), LOG_LINES_PER_PERIOD as usize);
        assert!(
            lines[0].starts_with(
                "a command of ci was not started as the user gone: the exec-server's machine has"
            )
        );
        let later = log.lines(&refused, start + LOG_PERIOD);
        let more = 1_000 - LOG_LINES_PER_PERIOD;
        assert_eq!(
            later[0],
            format!("and {more} times more a command was not started because of its user")
        );
    }
}
