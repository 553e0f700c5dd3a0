//! Formats durations with two or three significant digits, and shares in per cent.

/// `ns` nanoseconds in a suitable unit; `ascii` writes `us` for `µs`.
pub fn duration(ns: u64, ascii: bool) -> String {
    let micro = if ascii { "us" } else { "µs" };
    // Above each threshold, rounding to three digits would need a fourth.
    let (value, unit) = match ns {
        0..999_500 => (ns as f64 / 1e3, micro),
        999_500..999_500_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = match value {
        0.0 => 0,
        v if v < 0.995 => 2,
        v if v < 9.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// `part` of `whole` in per cent; `0 %` of nothing.
pub fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    };
    if percent > 0.0 && percent < 0.5 {
        "<1 %".to_owned()
    } else {
        format!("{percent:.0} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_two_or_three_digits() {
        let table = [
            (0, "0 µs"),
            (40, "0.04 µs"),
            (994, "0.99 µs"),
            (995, "1.0 µs"),
            (9_949, "9.9 µs"),
            (9_950, "10 µs"),
            (999_499, "999 µs"),
            (999_500, "1.0 ms"),
            (9_800_000, "9.8 ms"),
            (128_000_000, "128 ms"),
            (999_500_000, "1.0 s"),
            (3_600_000_000_000, "3600 s"),
        ];
        for (ns, text) in table {
            assert_eq!(duration(ns, false), text);
        }
        assert_eq!(duration(40, true), "0.04 us");
        assert_eq!(duration(u64::MAX, true), "18446744074 s");
    }

    #[test]
    fn a_share_is_never_shown_as_nothing_when_it_is_something() {
        assert_eq!(share(1, 1_000), "<1 %");
        assert_eq!(share(10, 1_000), "1 %");
        assert_eq!(share(0, 1_000), "0 %");
        assert_eq!(share(5, 0), "0 %");
    }
}
