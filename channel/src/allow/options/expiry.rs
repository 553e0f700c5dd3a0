//! The time of `expires`: as the `expiry-time` of OpenSSH, or RFC 3339.
//!
//! OpenSSH takes a time without `Z` as local time, whose meaning changes with the machine's time zone and twice a year.
//! Here `Z` is required: every time is UTC, and a line copied to another machine means the same.

use std::time::SystemTime;

use super::OptionsError;

/// `YYYYMMDDZ` (the beginning of that day), `YYYYMMDDHHMMZ`, `YYYYMMDDHHMMSSZ` or RFC 3339 with `Z`.
pub(super) fn parse(text: &str) -> Result<SystemTime, OptionsError> {
    let utc = text.strip_suffix('Z').ok_or(OptionsError::Expires)?;
    let is_compact = utc.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = match (is_compact, utc.len()) {
        (true, 8 | 12 | 14) => {
            // The rest of the time is midnight.
            let digits = format!("{utc:0<14}");
            let (year, rest) = digits.split_at(4);
            let (month, rest) = rest.split_at(2);
            let (day, rest) = rest.split_at(2);
            let (hour, rest) = rest.split_at(2);
            let (minute, second) = rest.split_at(2);
            humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
        }
        _ => humantime::parse_rfc3339(text),
    };
    parsed.map_err(|_| OptionsError::Expires)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_those_of_openssh_and_rfc_3339_in_utc() {
        for (text, seconds, nanos) in [
            ("20270131Z", 1_801_353_600, 0),
            ("202701310000Z", 1_801_353_600, 0),
            ("202701312359Z", 1_801_439_940, 0),
            ("20270131235958Z", 1_801_439_998, 0),
            ("2027-01-31T23:59:58Z", 1_801_439_998, 0),
            ("2027-01-31T23:59:58.25Z", 1_801_439_998, 250_000_000),
            ("20280229Z", 1_835_395_200, 0),
            ("19700101Z", 0, 0),
        ] {
            let expected = UNIX_EPOCH + Duration::new(seconds, nanos);
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_or_that_does_not_exist_is_refused() {
        for text in [
            "",
            "Z",
            "20270131",
            "202701312359",
            "2027-01-31",
            "2027-01-31Z",
            "2027-01-31T23:59:58",
            "2027-01-31T23:59:58+00:00",
            "2027-01-31T23:59:58+02:00",
            "2027-01-31 23:59:58Z",
            "2027013Z",
            "2027013123Z",
            "20270131235Z",
            "202701312359581Z",
            "20270230Z",
            "20270001Z",
            "20271301Z",
            "202701312400Z",
            "202701312360Z",
            "20270131 Z",
            "20270131z",
            "-0270131Z",
            "+2027013Z",
            "２０２７０１３１Z",
            "never",
        ] {
            assert_eq!(parse(text), Err(OptionsError::Expires), "{text}");
        }
    }
}
