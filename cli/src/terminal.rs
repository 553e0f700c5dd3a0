//! What the terminal can show.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsFd;

use baton_trace::record::CallRecord;
use baton_trace::report::{Style, waterfall};

/// Columns when there is no terminal to ask.
const WIDTH: usize = 100;

/// Whether to write in colours: on a terminal, unless `NO_COLOR` says no.
pub(crate) fn is_colored(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && !forbids(std::env::var_os("NO_COLOR").as_deref())
}

/// no-color.org: any value but an empty one.
fn forbids(no_color: Option<&OsStr>) -> bool {
    no_color.is_some_and(|value| !value.is_empty())
}

/// Draws a waterfall on standard error, beside what was asked for. A reader that has gone away needs none.
pub(crate) fn draw_aside(record: &CallRecord) {
    let mut stream = io::stderr();
    let _: io::Result<()> = stream.write_all(drawn(record, &stream).as_bytes());
}

/// A waterfall as `stream` can show it.
pub(crate) fn drawn(record: &CallRecord, stream: &(impl AsFd + IsTerminal)) -> String {
    let columns = rustix::termios::tcgetwinsize(stream)
        .ok()
        .map(|size| usize::from(size.ws_col));
    let style = Style {
        width: columns.filter(|columns| *columns > 0).unwrap_or(WIDTH),
        color: is_colored(stream),
        ascii: false,
    };
    waterfall(record, &style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_no_color_forbids_nothing() {
        assert!(!forbids(None) && !forbids(Some(OsStr::new(""))));
        assert!(forbids(Some(OsStr::new("0"))));
    }
}
