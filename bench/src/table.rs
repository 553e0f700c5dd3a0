//! Rows as a table, for a terminal and as Markdown.

use crate::Row;

const HEAD: [&str; 7] = [
    "",
    "measured",
    "95 % interval",
    "A against A",
    "bar",
    "verdict",
    "n",
];

/// The column of the verdict.
const VERDICT: usize = 5;

/// Prints the rows, then the reason for each row that was not measured.
pub fn print(rows: &[Row]) {
    let head = HEAD.map(str::to_owned);
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let width = |column: usize| {
        let texts = cells.iter().chain([&head]).map(|row| row[column].chars().count());
        texts.max().unwrap_or_default()
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let padded = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        println!("| {} |", padded.collect::<Vec<_>>().join(" | "));
    };
    line(&head);
    line(&widths.map(|width| "-".repeat(width)));
    cells.iter().for_each(line);
    for row in rows {
        if let Some(why) = row.absence() {
            println!("not measured: {}: {why}", row.what());
        }
    }
}

/// A Markdown table of the rows that have a bar. Its first row contains only `head`. A verdict with which `--check`
/// fails is bold.
pub(crate) fn markdown(head: &str, rows: &[Row]) -> String {
    let line = |cells: &[String; 7]| {
        let padded = cells.iter().map(|cell| match &cell[..] {
            "" => " ".to_owned(),
            cell => format!(" {cell} "),
        });
        format!("|{}|\n", padded.collect::<Vec<_>>().join("|"))
    };
    let mut table = line(&HEAD.map(str::to_owned));
    table.push_str(&format!("{}|\n", "|---".repeat(HEAD.len())));
    let mut cells = [const { String::new() }; 7];
    cells[0] = head.to_owned();
    table.push_str(&line(&cells));
    for row in rows.iter().filter(|row| row.is_judged()) {
        let mut cells = row.cells();
        if row.problem().is_some() {
            cells[VERDICT] = format!("**{}**", cells[VERDICT]);
        }
        table.push_str(&line(&cells));
    }
    table
}
