//! Logs the notices of the exec-server for its owner, each kind at a bounded rate.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use baton_channel::Notice;
use baton_channel::allow::AllowError;
use baton_core_client::SessionError;
use baton_trace::text::counted;

use crate::log_rate_limit::LogRateLimit;
use crate::published_ticket::PublishedTicket;

/// See the [module](self).
pub(super) struct NoticeLog {
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
            Notice::Registered | Notice::Moved => Some(Self::Registered),
            Notice::Retrying(..) => Some(Self::Retrying),
            Notice::Refused(_) | Notice::Expired(_) => Some(Self::Refused),
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
    pub(super) fn new(ticket: Arc<PublishedTicket>, relay: String, allow_path: PathBuf) -> Self {
        Self {
            ticket,
            relay,
            allow_path,
            rate_limits: Mutex::default(),
        }
    }

    pub(super) fn handle(&self, notice: Notice) {
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
            Notice::Moved => log_line!(
                "registered again with another relay: the load balancer at {} now sends clients there; sessions go on",
                self.relay
            ),
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
            // Without a line to add: it would allow the client without the options of its own line.
            Notice::Expired(name) => log_line!(
                "refused {name}, whose line has expired: to allow it again, change `expires` in {}",
                self.allow_path.display()
            ),
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
pub(super) fn allow_list_problem(problem: &AllowError) -> String {
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
    use baton_channel::Server;
    use baton_channel::allow::AllowList;
    use baton_core_client::Seed;

    use super::*;
    use crate::limits::{LOG_LINES_PER_PERIOD, LOG_PERIOD};

    #[test]
    fn what_a_relay_or_a_ticket_can_cause_at_will_is_told_some_times_a_minute_and_then_counted() {
        let seed = Seed::from_bytes([1; 32]);
        let server = Server::new("http://127.0.0.1:7700", &seed, AllowList::default());
        let ticket = server.unwrap().ticket();
        let ticket = Arc::new(PublishedTicket::new(ticket, None).unwrap());
        let notice_log = NoticeLog::new(ticket, String::new(), PathBuf::new());
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
