//! The rows as a table for people.

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

/// Prints the rows, and under them why some were not measured.
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
