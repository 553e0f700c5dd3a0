//! What the terminal can show.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use baton_trace::record::CallRecord;
use baton_trace::report::{Style, waterfall};

/// Columns when there is no terminal to ask.
const WIDTH: usize = 100;

/// Draws a waterfall on `stream`. A reader that has gone away needs none.
pub(crate) fn draw(record: &CallRecord, mut stream: impl Write + AsFd + IsTerminal) {
    let columns = rustix::termios::tcgetwinsize(&stream)
        .ok()
        .map(|size| usize::from(size.ws_col));
    let style = Style {
        width: columns.filter(|columns| *columns > 0).unwrap_or(WIDTH),
        color: stream.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        ascii: false,
    };
    let _: io::Result<()> = stream.write_all(waterfall(record, &style).as_bytes());
}
