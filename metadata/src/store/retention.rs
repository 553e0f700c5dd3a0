//! `--retain 30d,1GiB`: the retention by age and size.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The retention. An absent part does not limit.
///
/// Written as `AGE`, `SIZE` or `AGE,SIZE` in either order: an age is a whole number with `s`, `m`, `h`, `d` or `w`, a
/// size one with `B`, `KiB`, `MiB`, `GiB`, `TiB` (1,024) or `kB`, `MB`, `GB`, `TB` (1,000). `all` keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// A finished record is removed when it ended longer ago than this.
    pub age: Option<Duration>,
    /// The oldest finished records are removed while the database takes more than this many bytes.
    pub bytes: Option<u64>,
}

/// Smallest size that can be configured: a smaller one has no room for records beside the schema and the log.
pub const MIN_BYTES: u64 = 1024 * 1024;

/// An invalid value of `--retain`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// An empty part.
    #[error("the value is empty: write an age, a size or both, such as 30d,1GiB, or all")]
    Empty,
    /// No number in front of the unit.
    #[error("{0:?} does not begin with a whole number: write 30d or 1GiB")]
    NoNumber(String),
    /// A number without a unit, or with an unknown one.
    #[error(
        "{0:?} has no known unit: an age takes s, m, h, d or w, a size B, KiB, MiB, GiB, TiB, kB, MB, GB or TB"
    )]
    Unit(String),
    /// A number that is too large.
    #[error("{0:?} is too large")]
    TooLarge(String),
    /// An age of nothing would remove each record as it ends.
    #[error("an age of 0 keeps nothing: name a longer one, or store metadata in memory with --state none")]
    NoAge,
    /// A size below [`MIN_BYTES`].
    #[error("{0:?} is too small: the least is 1MiB")]
    TooSmall(String),
    /// Two ages or two sizes.
    #[error("two {0} are given: write one age and one size at most")]
    Twice(&'static str),
}

impl FromStr for Retention {
    type Err = RetentionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut kept = Self::default();
        if text.trim() == "all" {
            return Ok(kept);
        }
        for part in text.split(',').map(str::trim) {
            match RetentionLimit::parse(part)? {
                RetentionLimit::Age(_) if kept.age.is_some() => return Err(RetentionError::Twice("ages")),
                RetentionLimit::Bytes(_) if kept.bytes.is_some() => {
                    return Err(RetentionError::Twice("sizes"));
                }
                RetentionLimit::Age(age) => kept.age = Some(age),
                RetentionLimit::Bytes(bytes) => kept.bytes = Some(bytes),
            }
        }
        Ok(kept)
    }
}

enum RetentionLimit {
    Age(Duration),
    Bytes(u64),
}

impl RetentionLimit {
    fn parse(part: &str) -> Result<Self, RetentionError> {
        if part.is_empty() {
            return Err(RetentionError::Empty);
        }
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = part.split_at(digits);
        if number.is_empty() {
            return Err(RetentionError::NoNumber(part.to_owned()));
        }
        let too_large = || RetentionError::TooLarge(part.to_owned());
        let number: u64 = number.parse().map_err(|_| too_large())?;
        let unit = unit.trim_start();
        if let Some((_, seconds)) = AGES.iter().find(|(name, _)| *name == unit) {
            let seconds = number
                .checked_mul(*seconds)
                .filter(|s| *s <= LONGEST_SECONDS)
                .ok_or_else(too_large)?;
            return match seconds {
                0 => Err(RetentionError::NoAge),
                seconds => Ok(Self::Age(Duration::from_secs(seconds))),
            };
        }
        if let Some((_, bytes)) = SIZES.iter().find(|(name, _)| *name == unit) {
            let bytes = number
                .checked_mul(*bytes)
                .filter(|b| i64::try_from(*b).is_ok())
                .ok_or_else(too_large)?;
            return match bytes {
                bytes if bytes < MIN_BYTES => Err(RetentionError::TooSmall(part.to_owned())),
                bytes => Ok(Self::Bytes(bytes)),
            };
        }
        Err(RetentionError::Unit(part.to_owned()))
    }
}

/// A hundred years. A longer age is a mistake, and nanoseconds since 1970 must fit into 64 bits.
const LONGEST_SECONDS: u64 = 100 * 366 * 86_400;

const AGES: [(&str, u64); 5] = [
    ("s", 1),
    ("m", 60),
    ("h", 3_600),
    ("d", 86_400),
    ("w", 7 * 86_400),
];

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// In the syntax of `--retain`, each value in the largest unit that divides it.
impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_units = |f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]| {
            let whole = |unit: &&(&str, u64)| value.is_multiple_of(unit.1);
            let (name, unit) = units
                .iter()
                .filter(whole)
                .max_by_key(|unit| unit.1)
                .unwrap_or(&("", 1));
            write!(f, "{}{name}", value / unit)
        };
        match self {
            Self {
                age: None,
                bytes: None,
            } => f.write_str("all"),
            Self { age, bytes } => {
                if let Some(age) = age {
                    in_units(f, age.as_secs(), &AGES)?;
                }
                if age.is_some() && bytes.is_some() {
                    f.write_str(",")?;
                }
                bytes.map_or(Ok(()), |bytes| in_units(f, bytes, &SIZES))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Option<u64>, Option<u64>), RetentionError> {
        text.parse::<Retention>()
            .map(|kept| (kept.age.map(|age| age.as_secs()), kept.bytes))
    }

    #[test]
    fn an_age_a_size_or_both_in_either_order() {
        assert_eq!(parse("30d,1GiB"), Ok((Some(30 * 86_400), Some(1 << 30))));
        assert_eq!(parse("1GiB, 30d"), Ok((Some(30 * 86_400), Some(1 << 30))));
        assert_eq!(parse("90s"), Ok((Some(90), None)));
        assert_eq!(parse("2 w"), Ok((Some(14 * 86_400), None)));
        assert_eq!(parse("500MB"), Ok((None, Some(500_000_000))));
        assert_eq!(parse("all"), Ok((None, None)));
    }

    #[test]
    fn what_means_nothing_is_refused_by_name() {
        let s = str::to_owned;
        assert_eq!(parse(""), Err(RetentionError::Empty));
        assert_eq!(parse("30d,"), Err(RetentionError::Empty));
        assert_eq!(parse("d"), Err(RetentionError::NoNumber(s("d"))));
        assert_eq!(parse("-1d"), Err(RetentionError::NoNumber(s("-1d"))));
        assert_eq!(parse("30"), Err(RetentionError::Unit(s("30"))));
        assert_eq!(parse("1.5GiB"), Err(RetentionError::Unit(s("1.5GiB"))));
        assert_eq!(parse("30D"), Err(RetentionError::Unit(s("30D"))));
        assert_eq!(parse("0d"), Err(RetentionError::NoAge));
        assert_eq!(parse("1KiB"), Err(RetentionError::TooSmall(s("1KiB"))));
        assert_eq!(
            parse("99999999999999999999d"),
            Err(RetentionError::TooLarge(s("99999999999999999999d")))
        );
        assert_eq!(
            parse("99999999999d"),
            Err(RetentionError::TooLarge(s("99999999999d")))
        );
        assert_eq!(
            parse("9999999999TiB"),
            Err(RetentionError::TooLarge(s("9999999999TiB")))
        );
        assert_eq!(parse("1d,2d"), Err(RetentionError::Twice("ages")));
        assert_eq!(parse("1GiB,2GiB"), Err(RetentionError::Twice("sizes")));
    }

    #[test]
    fn what_is_shown_can_be_written() {
        for text in ["30d,1GiB", "90s", "25h", "all", "500MB", "2w", "1025KiB"] {
            let kept: Retention = text.parse().unwrap();
            assert_eq!(kept.to_string().parse(), Ok(kept), "{text} is shown as {kept}");
        }
        assert_eq!(
            "36h,1048576B".parse::<Retention>().unwrap().to_string(),
            "36h,1MiB"
        );
    }
}
