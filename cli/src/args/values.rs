//! Parsers of option values.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_analyze::analysis::Filter;
use baton_analyze::jaeger_search::{JaegerError, JaegerInput};
use baton_core_client::warm::{WarmInterval, WarmIntervalError};
use baton_core_client::{ProcessId, Signal, UnknownSignal};
use baton_exec_server::limits::{DRAIN_MAX, KILL_GRACE_MAX};
use baton_export::limits::{EXPORT_SHUTDOWN_MAX, SPAN_NAME_MAX};
use baton_proto::limits::{STEP_ID_MAX, THREAD_ID_MAX, THREAD_TITLE_MAX, TURN_MAX};
use baton_relay::{AddressRange, AddressRangeError};
use baton_trace::TraceId;
use baton_trace::family::{FAMILIES, Family};
use baton_trace::outcome::{Fault, OutcomeKind};
use clap::builder::{
    EnumValueParser, OsStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser,
};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthChar as _;

use super::analyze::Moment;
use crate::hosts::{NAME_RULE, is_name};
use crate::limits::{GRACE_LONGEST, MAX_OUTPUT_MAX, STOP_TIMEOUT_MAX};
use crate::ticket_file;

/// A value that must be UTF-8. clap's own error does not name the argument.
pub(super) fn utf8<T>(
    parse: impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    OsStringValueParser::new().try_map(move |value: OsString| match value.to_str() {
        Some(text) => parse(text),
        None => Err("it is not UTF-8 text".into()),
    })
}

/// The error of a value that is not UTF-8, from a parser that also tells clap the possible values.
#[derive(Clone)]
struct NamedUtf8<P>(P);

impl<P: TypedValueParser> TypedValueParser for NamedUtf8<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<P::Value, clap::Error> {
        utf8(any_text).parse_ref(command, argument, value)?;
        self.0.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

/// A value of a closed list that must be UTF-8.
pub(super) fn one_of<T>() -> impl TypedValueParser<Value = T>
where
    T: clap::ValueEnum + Clone + Send + Sync + 'static,
{
    NamedUtf8(EnumValueParser::new())
}

/// A number from 1 to `max`.
pub(super) fn up_to(max: i64) -> impl TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(1..=max)
}

/// Any text.
pub(super) fn any_text(text: &str) -> Result<String, String> {
    Ok(text.into())
}

/// A ticket, without the `ticket:` label of a copied line.
pub(super) fn ticket(text: &str) -> Result<String, String> {
    Ok(ticket_file::without_label(text).into())
}

/// NAME=VALUE, in any bytes, as in an environment. Only the value may be empty.
pub(super) fn environment_variable() -> impl TypedValueParser<Value = (OsString, OsString)> {
    OsStringValueParser::new().try_map(|pair: OsString| {
        let bytes = pair.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
        let (name, value) = at.map(|at| (&bytes[..at], &bytes[at + 1..])).ok_or(NOT_A_PAIR)?;
        let part = |bytes| OsStr::from_bytes(bytes).to_owned();
        Ok::<_, &str>((part(name), part(value)))
    })
}

const NOT_A_PAIR: &str = "expected a name, `=` and a value";

/// KEY=VALUE. Only the value may be empty.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(NOT_A_PAIR.into()),
    }
}

/// A thread's id. An empty one is refused: in a script with an unset variable it would select no thread or all.
pub(super) fn trace_id(text: &str) -> Result<TraceId, String> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = TraceId::from_hex(text)
        .ok()
        .filter(|id| is_hex && *id != TraceId::INVALID);
    id.ok_or_else(|| "a trace id has 32 hexadecimal digits, not all of them 0".to_owned())
}

pub(super) fn thread(id: &str) -> Result<String, String> {
    caller_id(id, "thread", THREAD_ID_MAX)
}

/// A step's id. An empty one is refused, as that of a thread.
pub(super) fn step(id: &str) -> Result<String, String> {
    caller_id(id, "step", STEP_ID_MAX)
}

/// Whether a character leaves a mark on a terminal. U+2800 is a braille cell without dots.
fn is_visible(c: char) -> bool {
    !c.is_whitespace() && c != '\u{2800}' && c.width().is_some_and(|columns| columns > 0)
}

fn caller_id(id: &str, of: &str, max: usize) -> Result<String, String> {
    if id.is_empty() {
        return Err(format!("expected a {of}'s name, not an empty one"));
    }
    if id.len() > max || id.chars().any(char::is_control) {
        return Err(format!("expected at most {max} bytes without control characters"));
    }
    if !id.chars().any(is_visible) {
        return Err(format!("expected a {of}'s name, not only blanks"));
    }
    Ok(id.into())
}

/// The name of an exec-server.
pub(super) fn host(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.into()),
        false => Err(NAME_RULE.into()),
    }
}

/// The number of a turn, as it is shown: digits without a sign and without leading zeros. So a turn has one spelling,
/// in scripts and logs too.
pub(super) fn turn(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number @ 1..=TURN_MAX) if number.to_string() == text => Ok(number),
        _ => Err(format!(
            "expected a number from 1 to {TURN_MAX}, without a sign and leading zeros"
        )),
    }
}

/// The name of a span.
pub(super) fn label(label: &str) -> Result<String, String> {
    match label.len() {
        1..=SPAN_NAME_MAX if !label.chars().any(char::is_control) => Ok(label.into()),
        _ => Err(format!(
            "expected 1 to {SPAN_NAME_MAX} bytes without control characters"
        )),
    }
}

/// The outcome of a command.
pub(super) fn outcome(word: &str) -> Result<OutcomeKind, String> {
    let words = || OutcomeKind::ALL.map(OutcomeKind::as_str).join(", ");
    OutcomeKind::from_name(word).ok_or_else(|| format!("expected one of {}", words()))
}

/// Whose fault a command's end is.
pub(super) fn fault(word: &str) -> Result<Fault, String> {
    let words = || Fault::ALL.map(Fault::as_str).join(", ");
    Fault::from_name(word).ok_or_else(|| format!("expected one of {}", words()))
}

/// A runtime family, by its name in the table. The help says when a program of it is ready.
pub(super) fn family() -> impl TypedValueParser<Value = Family> {
    let names = FAMILIES
        .iter()
        .map(|def| PossibleValue::new(def.name).help(format!("Ready: {}", def.ready.event)));
    let known = PossibleValuesParser::new(names);
    NamedUtf8(known.try_map(|name| Family::from_name(&name).ok_or("no family has this name")))
}

/// A thread's title, which may be empty.
pub(super) fn title(title: &str) -> Result<String, String> {
    match title.len() {
        0..=THREAD_TITLE_MAX => Ok(title.into()),
        _ => Err(format!("expected at most {THREAD_TITLE_MAX} bytes")),
    }
}

/// A timeout, which must not be 0.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("expected more than 0, like 90s or 15m".into()),
        Ok(limit) => Ok(limit),
        Err(_) => Err("expected a time like 90s or 15m".into()),
    }
}

/// The time that output may follow the exit; 0 waits for none.
pub(super) fn drain(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(limit) if limit <= DRAIN_MAX => Ok(limit),
        Ok(_) => Err(format!(
            "expected at most {}",
            humantime::format_duration(DRAIN_MAX)
        )),
        Err(_) => Err("expected a time like 500ms or 10s".into()),
    }
}

/// The time that a command, or anything that an exec-server runs, may outlive its connection; 0 is none.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(limit) if limit <= GRACE_LONGEST => Ok(limit),
        Ok(_) => Err(format!(
            "expected at most {}",
            humantime::format_duration(GRACE_LONGEST)
        )),
        Err(_) => Err("expected a time like 60s or 10m".into()),
    }
}

/// The time that a command has to end when it is asked to; 0 is none.
pub(super) fn kill_grace(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(limit) if limit <= KILL_GRACE_MAX => Ok(limit),
        Ok(_) => Err(format!(
            "expected at most {}",
            humantime::format_duration(KILL_GRACE_MAX)
        )),
        Err(_) => Err("expected a time like 500ms or 30s".into()),
    }
}

/// A signal, in upper or lower case, with or without `SIG`. Numbers differ between systems.
pub(super) fn signal(text: &str) -> Result<Signal, String> {
    text.parse().map_err(|error: UnknownSignal| error.to_string())
}

/// The id of a process or a prefix of it. An empty one is refused: in a script with an unset variable it would select
/// the one process that runs.
pub(super) fn process_id(text: &str) -> Result<String, String> {
    let id = text.replace('-', "").to_ascii_lowercase();
    match id.len() {
        1..=32 if id.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(id),
        _ => Err("expected an id of `baton ps`, or its beginning: at most 32 hexadecimal digits".into()),
    }
}

/// The whole id of a process.
pub(super) fn uuid(text: &str) -> Result<ProcessId, String> {
    let id = text.replace('-', "").to_ascii_lowercase();
    id.parse().map_err(|_| {
        "expected a UUID: 32 hexadecimal digits, as `uuidgen` or /proc/sys/kernel/random/uuid prints them"
            .into()
    })
}

/// Bytes of output, alone or in units of 1,024: 65536 or 64KiB.
pub(super) fn max_output(text: &str) -> Result<usize, String> {
    let expected = || {
        format!(
            "expected a size of at most {} MiB, like 65536, 64KiB or 1MiB",
            MAX_OUTPUT_MAX >> 20
        )
    };
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        _ => return Err(expected()),
    };
    let number: usize = number.parse().map_err(|_| expected())?;
    let bytes = number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes <= MAX_OUTPUT_MAX);
    bytes.ok_or_else(expected)
}

/// The time that commands have to end when their exec-server is stopped, or sessions when their relay is; 0 is none.
pub(super) fn stop_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(limit) if limit <= STOP_TIMEOUT_MAX => Ok(limit),
        Ok(_) => Err(format!(
            "expected at most {}",
            humantime::format_duration(STOP_TIMEOUT_MAX)
        )),
        Err(_) => Err("expected a time like 2s or 10m".into()),
    }
}

/// The interval of `baton warm`.
pub(super) fn interval(text: &str) -> Result<WarmInterval, String> {
    let interval = humantime::parse_duration(text).map_err(|_| "expected a time like 30s or 5m")?;
    interval
        .try_into()
        .map_err(|error: WarmIntervalError| error.to_string())
}

/// A correctness check and its result.
pub(super) fn check(text: &str) -> Result<(String, bool), String> {
    let expected = || "expected NAME=passed or NAME=failed".to_owned();
    let (name, result) = text.rsplit_once('=').ok_or_else(expected)?;
    let passed = match result {
        "passed" => true,
        "failed" => false,
        _ => return Err(expected()),
    };
    if name.is_empty() {
        return Err(expected());
    }
    Ok((name.to_owned(), passed))
}

/// A percentage, as a part of 1.
pub(super) fn part(text: &str) -> Result<f64, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok());
    // The range also refuses NaN and infinity.
    let number = number.filter(|number| (0.0..=1000.0).contains(number));
    Ok(number.ok_or("expected a percentage like 2% or 0.5%")? / 100.0)
}

/// A duration, which may be 0.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration like 10us or 5ms".into())
}

/// Bytes of memory, in units of 1,024: 512MiB or 2GiB.
pub(super) fn memory(text: &str) -> Result<usize, String> {
    let expected = || "expected a size of at least 16MiB, like 512MiB or 2GiB".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.to_ascii_lowercase().as_str() {
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(expected()),
    };
    let number: usize = number.parse().map_err(|_| expected())?;
    let bytes = number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes >= MEMORY_MIN);
    bytes.ok_or_else(expected)
}

/// An IP address or a prefix.
pub(super) fn address_range(text: &str) -> Result<AddressRange, String> {
    text.parse().map_err(|error: AddressRangeError| error.to_string())
}

/// The smallest memory of a relay: enough for a few hundred sessions.
const MEMORY_MIN: usize = 16 << 20;

/// The time in which connecting is retried; 0 is one attempt.
pub(super) fn connect_timeout(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a time like 5s or 2m".into())
}

/// The time to wait for a collector, which may be 0.
pub(super) fn flush_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(limit) if limit <= EXPORT_SHUTDOWN_MAX => Ok(limit),
        Ok(_) => Err(format!("expected at most {} s", EXPORT_SHUTDOWN_MAX.as_secs())),
        Err(_) => Err("expected a time like 500ms or 2s".into()),
    }
}

/// A time in nanoseconds since the Unix epoch, given as an age, a date (local midnight) or a time.
pub(super) fn since(text: &str) -> Result<u64, String> {
    since_in(text, TimeZone::system)
}

fn since_in(text: &str, zone: impl FnOnce() -> TimeZone) -> Result<u64, String> {
    let at = if let Ok(ago) = humantime::parse_duration(text) {
        SystemTime::now().checked_sub(ago)
    } else if let Some(day) = day(text) {
        // If the time zone skips this midnight, the day begins later.
        let midnight = day.to_zoned(zone()).map_err(|error| error.to_string())?;
        Some(SystemTime::from(midnight))
    } else {
        let wanted =
            "expected an age like 1h or 2d, a date like 2026-01-31, or a time like 2026-01-31T12:00:00Z";
        Some(humantime::parse_rfc3339_weak(text).map_err(|_| wanted)?)
    };
    let since = at
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The address of a Jaeger.
pub(super) fn jaeger(text: &str) -> Result<JaegerInput, JaegerError> {
    match JaegerInput::is_url(text) {
        true => jaeger_input(text),
        false => jaeger_input(&format!("http://{text}")),
    }
}

/// An URL of a Jaeger among inputs.
pub(crate) fn jaeger_input(text: &str) -> Result<JaegerInput, JaegerError> {
    JaegerInput::parse(text, since)
}

/// A condition on calls: `NAME=VALUE`.
pub(super) fn analyze_filter(text: &str) -> Result<Filter, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Filter {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err("expected NAME=VALUE, like label=make or host.name=builder".into()),
    }
}

/// A time, or an age.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    match humantime::parse_duration(text) {
        Ok(age) => Ok(Moment::Ago(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))),
        Err(_) => since(text).map(Moment::At),
    }
}

/// A date in the format YYYY-MM-DD.
fn day(text: &str) -> Option<Date> {
    let is_bare = text.len() == "2026-01-31".len();
    text.parse().ok().filter(|_| is_bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_a_name_that_can_be_shown_and_kept() {
        for good in ["release-42", "ü", &"x".repeat(THREAD_ID_MAX)] {
            assert_eq!(thread(good).as_deref(), Ok(good));
        }
        for bad in ["", "a\tb", "\u{9b}", &"x".repeat(THREAD_ID_MAX + 1)] {
            assert!(thread(bad).is_err(), "{bad:?}");
        }
        assert!(title("").is_ok() && title(&"x".repeat(THREAD_TITLE_MAX + 1)).is_err());
    }

    #[test]
    fn a_check_has_a_name_and_passed_or_failed() {
        assert_eq!(check("a=b=passed"), Ok(("a=b".to_owned(), true)));
        assert_eq!(check("same output=failed"), Ok(("same output".to_owned(), false)));
        for bad in ["", "a", "=passed", "a=", "a=yes"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_part_is_a_percentage() {
        assert_eq!(part("2%"), Ok(0.02));
        assert_eq!(part("0.5 %"), Ok(0.005));
        for bad in ["", "2", "%", "-1%", "NaN%", "inf%", "1e9%"] {
            assert!(part(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_step_has_a_name_and_a_turn_a_number_from_1() {
        for good in ["plan", "ü", &"x".repeat(STEP_ID_MAX)] {
            assert_eq!(step(good).as_deref(), Ok(good));
        }
        let blank = [
            " ",
            "   ",
            "\u{a0}",
            "\u{200b}",
            "\u{200b} \u{2060}",
            "\u{feff}",
            "\u{3000}",
            "\u{2800}",
        ];
        for bad in blank {
            assert!(step(bad).is_err() && thread(bad).is_err(), "{bad:?}");
        }
        assert_eq!(step("\u{200b}a b").as_deref(), Ok("\u{200b}a b"));
        for bad in ["", "a\tb", "\u{9b}", &"x".repeat(STEP_ID_MAX + 1)] {
            assert!(step(bad).is_err(), "{bad:?}");
        }
        assert_eq!((turn("1"), turn("9223372036854775807")), (Ok(1), Ok(TURN_MAX)));
        for bad in [
            "",
            "0",
            "-1",
            "1.0",
            "one",
            "+3",
            "0003",
            " 3",
            "３",
            "9223372036854775808",
            "99999999999999999999",
        ] {
            assert!(turn(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_variable_is_parted_at_its_first_equals_sign_whatever_its_bytes() {
        let command = clap::Command::new("x");
        let parse = |pair: &[u8]| {
            environment_variable()
                .parse_ref(&command, None, OsStr::from_bytes(pair))
                .ok()
        };
        let pair = |name: &[u8], value: &[u8]| {
            let part = |bytes| OsStr::from_bytes(bytes).to_owned();
            Some((part(name), part(value)))
        };
        assert_eq!(parse(b"A=b=c"), pair(b"A", b"b=c"));
        assert_eq!(parse(b"A="), pair(b"A", b""));
        assert_eq!(parse(b"\xff=\xfe"), pair(b"\xff", b"\xfe"));
        assert_eq!((parse(b"A"), parse(b"=b"), parse(b"")), (None, None, None));
    }

    #[test]
    fn a_moment_is_an_age_or_a_time() {
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(1_000_000_000));
        let hour = since("1h").unwrap();
        let now = since("0s").unwrap();
        // A slow machine may pause between the two calls.
        assert!((3_599_000_000_000..3_660_000_000_000).contains(&(now - hour)));
        assert_eq!(since("100000y"), Ok(0));
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn a_bare_date_begins_at_the_midnight_of_the_local_zone() {
        const HOUR: u64 = 3_600_000_000_000;
        let at = |text: &str, zone: &str| since_in(text, || TimeZone::posix(zone).unwrap());
        let utc = at("2026-11-20", "UTC0").unwrap();
        assert_eq!(Ok(utc), since("2026-11-20T00:00:00Z"));
        assert_eq!(at("2026-11-20", "XYZ-5"), Ok(utc - 5 * HOUR));
        assert_eq!(at("2026-11-20", "XYZ+3"), Ok(utc + 3 * HOUR));
        // A zone whose clocks skip from 00:00 to 01:00 on that day.
        let skipped = at("2026-03-01", "XYZ0DST-1,M3.1.0/0,M11.1.0/0");
        assert_eq!(skipped, since("2026-03-01T00:00:00Z"));
        for bad in [
            "2026-13-01",
            "2026-02-30",
            "20261120",
            "2026-11-20X",
            "11/20/2026",
        ] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wait_for_a_collector_may_be_0_and_is_bounded() {
        assert_eq!(flush_timeout("0s"), Ok(Duration::ZERO));
        assert_eq!(flush_timeout("2s 500ms"), Ok(Duration::from_millis(2_500)));
        for bad in ["2", "", "-1s", "1h"] {
            assert!(flush_timeout(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_grace_may_be_0_and_is_bounded() {
        assert_eq!(grace("0s"), Ok(Duration::ZERO));
        assert_eq!(grace("7d"), Ok(GRACE_LONGEST));
        for bad in ["60", "", "-1s", "7d 1s"] {
            assert!(grace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_kill_grace_may_be_0_and_is_bounded() {
        assert_eq!(kill_grace("0s"), Ok(Duration::ZERO));
        assert_eq!(kill_grace("10m"), Ok(KILL_GRACE_MAX));
        for bad in ["5", "", "-1s", "10m 1s"] {
            assert!(kill_grace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_process_id_is_hexadecimal_and_not_empty() {
        assert_eq!(process_id("019A3c5e-1"), Ok("019a3c5e1".into()));
        assert_eq!(process_id(&"f".repeat(32)), Ok("f".repeat(32)));
        for bad in ["", "-", "x", "019a 3c", &"f".repeat(33)] {
            assert!(process_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stop_timeout_may_be_0_and_is_bounded() {
        assert_eq!(stop_timeout("0s"), Ok(Duration::ZERO));
        assert_eq!(stop_timeout("1d"), Ok(STOP_TIMEOUT_MAX));
        for bad in ["2", "", "-1s", "25h"] {
            assert!(stop_timeout(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_timeout_has_a_unit_and_is_not_0() {
        assert_eq!(timeout("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["10", "0s", "-1s", "soon", ""] {
            assert!(timeout(bad).is_err(), "{bad}");
        }
        assert_eq!(connect_timeout("0s"), Ok(Duration::ZERO));
        assert!(connect_timeout("10").is_err());
    }
}
