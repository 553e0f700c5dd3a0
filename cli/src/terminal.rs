//! The capabilities of the terminal, and waterfalls drawn for it.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsFd;

use baton_trace::record::CallRecord;
use baton_trace::report::{WaterfallStyle, brief, waterfall};

use crate::args::WaterfallDetail;

/// The width without a terminal.
const WIDTH: usize = 100;

/// Whether to use colours: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn is_colored(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && !forbids(std::env::var_os("NO_COLOR").as_deref())
}

/// By no-color.org, any value except an empty one disables colours.
fn forbids(no_color: Option<&OsStr>) -> bool {
    no_color.is_some_and(|value| !value.is_empty())
}

/// Whether the locale is set and is not UTF-8. Without a locale, as in most containers, the terminal usually supports
/// UTF-8.
fn is_ascii(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    // The order of POSIX.1-2017, XBD section 8.2; an empty variable counts as unset.
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|locale| !locale.is_empty())
        .is_some_and(|locale| {
            let locale = locale.to_string_lossy().to_ascii_lowercase();
            !locale.contains("utf-8") && !locale.contains("utf8")
        })
}

/// Whether text for a person uses only ASCII, by the environment.
pub(crate) fn is_ascii_locale() -> bool {
    is_ascii(|name| std::env::var_os(name))
}

/// Draws a waterfall on standard error. Ignores a closed reader.
pub(crate) fn draw_on_stderr(record: &CallRecord, drawing: WaterfallDetail) {
    let mut stream = io::stderr();
    let drawn = match drawing {
        WaterfallDetail::Full => drawn(record, &stream),
        WaterfallDetail::Brief => brief(record, &style_of(&stream)),
    };
    let _: io::Result<()> = stream.write_all(drawn.as_bytes());
}

/// A waterfall with the width and colours of `stream`.
pub(crate) fn drawn(record: &CallRecord, stream: &(impl AsFd + IsTerminal)) -> String {
    waterfall(record, &style_of(stream))
}

/// The width of `stream`, if it is a terminal that tells it.
pub(crate) fn columns(stream: &impl AsFd) -> usize {
    let columns = rustix::termios::tcgetwinsize(stream)
        .ok()
        .map(|size| usize::from(size.ws_col));
    columns.filter(|columns| *columns > 0).unwrap_or(WIDTH)
}

fn style_of(stream: &(impl AsFd + IsTerminal)) -> WaterfallStyle {
    WaterfallStyle {
        width: columns(stream),
        color: is_colored(stream),
        ascii: is_ascii_locale(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_no_color_forbids_nothing() {
        assert!(!forbids(None) && !forbids(Some(OsStr::new(""))));
        assert!(forbids(Some(OsStr::new("0"))));
    }

    #[test]
    fn the_first_locale_that_is_set_decides_and_without_one_it_is_utf_8() {
        let ascii = |set: &[(&str, &str)]| {
            is_ascii(|name| {
                let found = set.iter().find(|(set, _)| *set == name);
                found.map(|(_, value)| (*value).into())
            })
        };
        assert!(!ascii(&[]) && !ascii(&[("LANG", "")]));
        for locale in ["C", "POSIX", "en_US", "de_DE.ISO-8859-1"] {
            assert!(ascii(&[("LANG", locale)]), "{locale}");
        }
        for locale in ["C.UTF-8", "en_US.utf8", "ca_ES.UTF-8@valencia"] {
            assert!(!ascii(&[("LANG", locale)]), "{locale}");
        }
        assert!(ascii(&[("LANG", "C.UTF-8"), ("LC_CTYPE", "C")]));
        assert!(!ascii(&[("LC_ALL", "C.UTF-8"), ("LC_CTYPE", "C")]));
        assert!(ascii(&[("LC_ALL", ""), ("LC_CTYPE", ""), ("LANG", "C")]));
    }
}
