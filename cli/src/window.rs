//! The size of this process's terminal, and the variables that describe it to a command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use baton_core_client::{Resizer, WindowSize};
use rustix::termios::{Winsize, tcgetwinsize};
use tokio::signal::unix::{SignalKind, signal};

/// The size without a terminal: what programs assume.
const DEFAULT: WindowSize = WindowSize {
    columns: 80,
    rows: 24,
    width_pixels: 0,
    height_pixels: 0,
};

/// The size of the terminal that is one of the standard streams.
pub(crate) fn size() -> WindowSize {
    let sizes = [
        tcgetwinsize(rustix::stdio::stdout()),
        tcgetwinsize(rustix::stdio::stdin()),
        tcgetwinsize(rustix::stdio::stderr()),
    ];
    let known = sizes.into_iter().flatten().find_map(usable);
    known.unwrap_or(DEFAULT)
}

/// A size that a program can use: a serial line and a new pseudo-terminal say 0.
fn usable(size: Winsize) -> Option<WindowSize> {
    (size.ws_col > 0 && size.ws_row > 0).then_some(WindowSize {
        columns: size.ws_col,
        rows: size.ws_row,
        width_pixels: size.ws_xpixel,
        height_pixels: size.ws_ypixel,
    })
}

/// Sends each new size to the command, until it ends. `sent` is the one that it has.
pub(crate) async fn follow(resizer: Resizer, mut sent: Option<WindowSize>) {
    // Before the first look at the size, so that no change is missed.
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    loop {
        let size = size();
        if sent != Some(size) {
            if resizer.resize(size).await.is_err() {
                return;
            }
            sent = Some(size);
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

/// Those of `variables` that a command with a terminal gets: TERM, and with `locale` also COLORTERM, LANG and LC_*.
pub(crate) fn variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
    locale: bool,
) -> impl Iterator<Item = (OsString, OsString)> {
    variables.filter(move |(name, _)| name == "TERM" || locale && is_of_locale(name))
}

fn is_of_locale(name: &OsStr) -> bool {
    name == "COLORTERM" || name == "LANG" || name.as_bytes().starts_with(b"LC_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_of_zero_is_none() {
        let size = |ws_col, ws_row| Winsize {
            ws_row,
            ws_col,
            ws_xpixel: 7,
            ws_ypixel: 8,
        };
        let expected = WindowSize {
            columns: 132,
            rows: 43,
            width_pixels: 7,
            height_pixels: 8,
        };
        assert_eq!(usable(size(132, 43)), Some(expected));
        assert_eq!(usable(size(0, 43)), None);
        assert_eq!(usable(size(132, 0)), None);
    }

    #[test]
    fn a_terminal_has_a_type_in_a_clean_environment_and_a_locale_in_others() {
        let all = ["TERM", "LANG", "LC_ALL", "COLORTERM", "LANGUAGE", "HOME", "LCX"];
        let names = |locale| {
            let all = all.into_iter().map(|name| (name.into(), "x".into()));
            variables(all, locale).map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["TERM"]);
        assert_eq!(names(true), ["TERM", "LANG", "LC_ALL", "COLORTERM"]);
    }
}
