//! What the values of options may be, and what is made of them.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ticket_file;

/// The ticket alone, where the whole line was copied.
pub(super) fn ticket(text: &str) -> Result<String, Infallible> {
    Ok(ticket_file::bare(text).into())
}

/// NAME=VALUE or KEY=VALUE: only the value may be empty.
pub(super) fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("there is no `=` in it, or nothing before it"),
    }
}

/// A time to wait for something, which 0 is not.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a command needs some time".into()),
        Ok(limit) => Ok(limit),
        Err(_) => Err("expected a time like 90s or 15m".into()),
    }
}

/// A moment, in nanoseconds since the Unix epoch: so long ago, or a time.
pub(super) fn since(text: &str) -> Result<u64, String> {
    let at = match humantime::parse_duration(text) {
        Ok(ago) => SystemTime::now().checked_sub(ago),
        Err(_) => Some(
            humantime::parse_rfc3339_weak(text)
                .map_err(|_| "expected an age like 1h or 2d, or a time like 2026-01-31T12:00:00Z")?,
        ),
    };
    let since = at
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_age_or_a_time() {
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(1_000_000_000));
        let hour = since("1h").unwrap();
        let now = since("0s").unwrap();
        assert!((3_599_000_000_000..3_601_000_000_000).contains(&(now - hour)));
        assert_eq!(since("100000y"), Ok(0));
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn a_timeout_has_a_unit_and_is_not_0() {
        assert_eq!(timeout("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["10", "0s", "-1s", "soon", ""] {
            assert!(timeout(bad).is_err(), "{bad}");
        }
    }
}
