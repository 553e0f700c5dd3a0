//! Tables for a terminal, or for a file or pipe.

use std::io::{self, IsTerminal as _};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::terminal::is_colored;

/// Two spaces between columns.
const GAP: usize = 2;

/// A column: its head, its alignment, and whether it may be omitted on a narrow terminal. A `spare` of 0 is never
/// omitted; the highest number is omitted first. A cell wider than `most` is cut on a terminal; elsewhere it is whole,
/// and the other rows are not widened for it.
pub(crate) struct Column {
    pub(crate) head: &'static str,
    pub(crate) right: bool,
    pub(crate) spare: u8,
    pub(crate) most: usize,
}

impl Column {
    pub(crate) const fn left(head: &'static str) -> Self {
        Self {
            head,
            right: false,
            spare: 0,
            most: usize::MAX,
        }
    }

    pub(crate) const fn right(head: &'static str) -> Self {
        Self {
            right: true,
            ..Self::left(head)
        }
    }

    pub(crate) const fn spare(self, spare: u8) -> Self {
        Self { spare, ..self }
    }

    pub(crate) const fn most(self, most: usize) -> Self {
        Self { most, ..self }
    }
}

/// A row, and whether it is highlighted.
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    pub(crate) is_bad: bool,
}

/// The properties of the terminal on standard output.
#[derive(Clone, Copy)]
pub(crate) struct Terminal {
    /// `None`: standard output is not a terminal, and nothing is cut.
    pub(crate) width: Option<usize>,
    pub(crate) color: bool,
}

impl Terminal {
    pub(crate) fn of_stdout() -> Self {
        let stdout = io::stdout();
        let columns = rustix::termios::tcgetwinsize(&stdout)
            .ok()
            .map(|size| usize::from(size.ws_col));
        Self {
            width: columns.filter(|columns| stdout.is_terminal() && *columns > 0),
            color: is_colored(&stdout),
        }
    }
}

/// The minimum width of the last column; below it, spare columns are omitted.
const LAST_LEAST: usize = 24;

/// Draws the table, one line per row. The last column takes the remaining width of the terminal.
pub(crate) fn draw(columns: &[Column], rows: &[Row], terminal: Terminal) -> String {
    let width_of = |index: usize| {
        let cells = rows.iter().map(|row| row.cells[index].width());
        let widest = cells.max().unwrap_or(0).max(columns[index].head.width());
        widest.min(columns[index].most)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width_of).collect();
    let last = columns.len() - 1;
    let fixed = |shown: &[usize]| -> usize {
        let before = shown.iter().filter(|index| **index != last);
        before.map(|index| widths[*index] + GAP).sum()
    };
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    if let Some(width) = terminal.width {
        let least = widths[last].min(LAST_LEAST);
        while fixed(&shown) + least > width {
            let spare = shown.iter().copied().filter(|index| columns[*index].spare > 0);
            let Some(goes) = spare.max_by_key(|index| columns[*index].spare) else {
                break;
            };
            shown.retain(|index| *index != goes);
        }
    }
    let room = terminal.width.map_or(usize::MAX, |width| {
        width.saturating_sub(fixed(&shown)).max(LAST_LEAST)
    });
    let mut out = String::new();
    let line = |cells: &dyn Fn(usize) -> String, paint: &str| {
        let mut line = String::new();
        for index in &shown {
            let cell = cells(*index);
            if *index == last {
                line.push_str(&cut(&cell, room));
                continue;
            }
            let cell = match terminal.width {
                Some(_) => cut(&cell, columns[*index].most),
                None => cell,
            };
            let pad = " ".repeat(widths[*index].saturating_sub(cell.width()));
            let (before, after) = if columns[*index].right {
                (pad, String::new())
            } else {
                (String::new(), pad)
            };
            line.push_str(&format!("{before}{cell}{after}{}", " ".repeat(GAP)));
        }
        let line = line.trim_end();
        match terminal.color && !paint.is_empty() {
            true => format!("\x1b[{paint}m{line}\x1b[0m\n"),
            false => format!("{line}\n"),
        }
    };
    out.push_str(&line(&|index| columns[index].head.to_owned(), "1"));
    for row in rows {
        out.push_str(&line(
            &|index| row.cells[index].clone(),
            if row.is_bad { "31" } else { "" },
        ));
    }
    out
}

/// Cuts a text to a width, with an ellipsis.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken < width
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::left("A"),
        Column::right("SPARE").spare(1),
        Column::left("LAST"),
    ];

    fn drawn(width: Option<usize>, last: &str) -> String {
        let row = |cells: [&str; 3]| Row {
            cells: cells.map(str::to_owned).to_vec(),
            is_bad: false,
        };
        let terminal = Terminal { width, color: false };
        draw(
            &COLUMNS,
            &[row(["one", "7", last]), row(["世", "1234567", ""])],
            terminal,
        )
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let text = drawn(None, &"x".repeat(100));
        let expected = format!(
            "A      SPARE  LAST\none        7  {}\n世   1234567\n",
            "x".repeat(100)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_cell_wider_than_its_column_is_cut_on_a_terminal_and_widens_no_other_row() {
        let row = |cells: [&str; 2]| Row {
            cells: cells.map(str::to_owned).to_vec(),
            is_bad: false,
        };
        let columns = [Column::left("STEP").most(6), Column::left("LAST")];
        let long = "s".repeat(128);
        let rows = [row(["plan", "a"]), row([&long, "b"])];
        let at = |width| draw(&columns, &rows, Terminal { width, color: false });
        assert_eq!(at(Some(80)), "STEP    LAST\nplan    a\nsssss…  b\n");
        assert_eq!(at(None), format!("STEP    LAST\nplan    a\n{long}  b\n"));
    }

    #[test]
    fn a_narrow_terminal_loses_the_spare_column_and_then_the_end_of_the_last() {
        let text = drawn(Some(38), &"x".repeat(100));
        assert!(text.lines().all(|line| line.width() <= 38), "{text}");
        assert!(text.contains("SPARE"));
        let text = drawn(Some(30), &"世".repeat(100));
        assert!(text.lines().all(|line| line.width() <= 30), "{text}");
        assert!(!text.contains("SPARE") && text.contains("世…\n"), "{text}");
    }
}
