//! What of an input was not read, for documents that are computed from it.

use baton_trace::text::{counted, printable};
use serde_json::{Value, json};

use super::ReadSummary;
use crate::limits::FAULTY_FILES_NAMED;

/// What of the files of one side or gate was not read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputFaults {
    /// Files that were read.
    pub files: u64,
    /// Those with faults, in the order of reading.
    pub faulty: Vec<FaultyFile>,
    /// Spans without a valid span id or trace id.
    pub spans_without_id: u64,
}

/// A file that was read in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultyFile {
    /// Its name, as given.
    pub name: String,
    /// Faults: lines, or blocks of a segment, that were not read to their end.
    pub faults: u64,
    /// The line of the first; in a segment, the number of the block.
    pub first_line: Option<u64>,
    /// Spans that were read.
    pub spans: u64,
}

impl InputFaults {
    /// Adds what was not read of further files.
    pub fn add(&mut self, summary: &ReadSummary) {
        self.files += summary.files.len() as u64;
        self.spans_without_id += summary.spans_without_id;
        let faulty = summary.files.iter().filter(|file| file.faults > 0);
        self.faulty.extend(faulty.map(|file| FaultyFile {
            name: file.name.clone(),
            faults: file.faults,
            first_line: file.first_fault_line,
            spans: file.spans,
        }));
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.faulty.is_empty() && self.spans_without_id == 0
    }

    /// Faults of all files.
    pub fn count(&self) -> u64 {
        self.faulty.iter().map(|file| file.faults).sum()
    }

    /// What was not read, with counts, and the first [`FAULTY_FILES_NAMED`] files; `None` if everything was read.
    pub fn sentence(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.faulty.is_empty() {
            let named = self.faulty.iter().take(FAULTY_FILES_NAMED).map(described);
            let mut named = named.collect::<Vec<_>>().join(", ");
            let more = self.faulty.len().saturating_sub(FAULTY_FILES_NAMED) as u64;
            if more > 0 {
                named = format!("{named}, and {}", counted(more, "more file", "more files"));
            }
            let files = counted(self.files, "input file", "input files");
            let were = if self.faulty.len() == 1 { "was" } else { "were" };
            parts.push(format!(
                "{} of {files} {were} read in part: {named}",
                self.faulty.len()
            ));
        }
        if self.spans_without_id > 0 {
            let (spans, were) = match self.spans_without_id {
                1 => ("span", "was"),
                _ => ("spans", "were"),
            };
            parts.push(format!(
                "{} {spans} without a valid trace id and span id {were} left out",
                self.spans_without_id
            ));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let file = |file: &FaultyFile| {
            json!({
                "file": file.name,
                "faults": file.faults,
                "first_line": file.first_line,
                "spans": file.spans,
            })
        };
        json!({
            "files": self.files,
            "fault_count": self.count(),
            "faulty_files": self.faulty.iter().map(file).collect::<Vec<_>>(),
            "spans_without_id": self.spans_without_id,
        })
    }
}

fn described(file: &FaultyFile) -> String {
    let name = printable(&file.name);
    let faults = counted(file.faults, "fault", "faults");
    match (file.faults, file.first_line) {
        (_, None) => format!("{name} ({faults})"),
        (1, Some(line)) => format!("{name} ({faults}, in line {line})"),
        (_, Some(line)) => format!("{name} ({faults}, the first in line {line})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_traces::{call, line, other, read};

    fn faults(texts: &[&str]) -> InputFaults {
        let mut faults = InputFaults::default();
        // Read one by one, as files that are blocks are.
        for text in texts {
            faults.add(&read(&[text]).1);
        }
        faults
    }

    #[test]
    fn files_that_were_read_in_part_are_counted_and_the_first_ones_named() {
        let whole = line(&call());
        let torn = &whole[..whole.len() / 2];
        let one = faults(&[&whole, &format!("{whole}{torn}")]);
        assert_eq!(
            one.sentence().unwrap(),
            "1 of 2 input files was read in part: file0 (1 fault, in line 2)"
        );
        let file = &one.json()["faulty_files"][0];
        assert_eq!(
            (&file["file"], &file["faults"], &file["first_line"]),
            (&json!("file0"), &json!(1), &json!(2))
        );
        assert!(file["spans"].as_u64().unwrap() > 21, "{file}");
        assert_eq!((one.files, one.count()), (2, 1));

        let twice = format!("{torn}\n{torn}\n");
        let many = faults(&[&twice, &twice, &twice, &twice, &twice]);
        assert_eq!(many.count(), 10);
        assert_eq!(
            many.sentence().unwrap(),
            "5 of 5 input files were read in part: file0 (2 faults, the first in line 1), file0 (2 faults, the first in \
             line 1), file0 (2 faults, the first in line 1), and 2 more files"
        );
    }

    #[test]
    fn spans_without_ids_are_a_fault_and_whole_files_are_none() {
        let whole = line(&call());
        assert_eq!(faults(&[&whole]).sentence(), None);
        assert!(faults(&[&whole]).is_empty());
        let faults = faults(&[&line(&[other(0, 0, "no id", 0, 1)])]);
        assert!(!faults.is_empty());
        assert_eq!(
            faults.sentence().unwrap(),
            "1 span without a valid trace id and span id was left out"
        );
        assert_eq!(faults.json()["spans_without_id"], 1);
    }
}
