//! A benchmark from its command line to its exit code.

use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Instant;

use crate::report::Report;
use crate::worker::ROLE;
use crate::{Failure, Options, Row, table};

/// A phase: measures some rows. `B` is the state that all phases of a benchmark share.
pub type Phase<B> = fn(&B) -> Result<Vec<Row>, Failure>;

/// `main` of the benchmark `name`. Runs `role` if the first argument is [`ROLE`], otherwise `bench`.
pub fn main(
    name: &str,
    role: impl FnOnce(&[String]) -> Result<(), Failure>,
    bench: impl FnOnce() -> Result<ExitCode, Failure>,
) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, arguments)) if first == ROLE => role(arguments).map(|()| ExitCode::SUCCESS),
        // `cargo test --all-targets` runs benchmarks too, without this flag.
        _ if !arguments.iter().any(|argument| argument == "--bench") => {
            println!("run this with: cargo bench -p baton-bench --bench {name}");
            Ok(ExitCode::SUCCESS)
        }
        _ => bench(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// A run of a benchmark.
#[derive(Debug)]
pub struct Run<'a> {
    options: &'a Options,
    seed: u64,
    report: Report,
    began: Instant,
    /// Seconds of each phase.
    took: Vec<(String, f64)>,
}

impl<'a> Run<'a> {
    /// Begins a run of the benchmark `name`: prints the machine, the seed and `plan`, which is the amount of work.
    pub fn begin(name: &'static str, options: &'a Options, plan: &dyn Debug) -> Self {
        let seed = options.seed.unwrap_or_else(rand::random);
        let mut what = name.to_owned();
        if options.quick {
            what.push_str(" --quick");
        }
        for phase in &options.only {
            what.push_str(&format!(" --only {phase}"));
        }
        let report = Report::new(what, seed, format!("{plan:?}"));
        report.print_head();
        Self {
            options,
            seed,
            report,
            began: Instant::now(),
            took: Vec::new(),
        }
    }

    /// The seed of the bootstrap.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Runs the phases that `--only` selects, or all.
    ///
    /// # Errors
    /// The first error of a phase.
    pub fn phases<B>(&mut self, bench: &B, phases: &[(&str, Phase<B>)]) -> Result<(), Failure> {
        let only = &self.options.only;
        for (name, measure) in phases {
            if !only.is_empty() && !only.iter().any(|only| only == name) {
                continue;
            }
            let began = Instant::now();
            let rows = measure(bench).map_err(|error| format!("{name}: {error}"))?;
            // Printed after each phase, because a run takes long and may be interrupted.
            let took = began.elapsed().as_secs_f64();
            println!("{name}, {took:.0} s");
            table::print(&rows);
            println!();
            self.report.rows.extend(rows);
            self.took.push(((*name).to_owned(), took));
        }
        Ok(())
    }

    /// Sets the two commits that the benchmark compares, the earlier one first.
    pub fn compare(&mut self, commits: [String; 2]) {
        self.report.compare(commits);
    }

    /// Adds `value` to the JSON under `name`. If `failed`, the note counts as a failed bar.
    pub fn note(&mut self, name: &str, value: serde_json::Value, failed: bool) {
        self.report.note(name, value, failed);
    }

    /// Prints the verdicts and writes the files. With `--check`, the exit code is a failure unless every row was
    /// measured, was judgeable and reached its bar.
    ///
    /// # Errors
    /// A file of `--markdown` or `--json` could not be written.
    pub fn end(self) -> Result<ExitCode, Failure> {
        self.report.print_verdicts();
        let phases: Vec<_> = self
            .took
            .iter()
            .map(|(name, took)| format!("{name} {took:.0}"))
            .collect();
        println!(
            "took {:.0} s, without building; by phase: {}",
            self.began.elapsed().as_secs_f64(),
            phases.join(", ")
        );
        if let Some(file) = &self.options.markdown {
            std::fs::write(file, self.report.markdown())?;
        }
        if let Some(file) = &self.options.json {
            self.report.write_json(file)?;
        }
        let problems = self.report.problems();
        if self.options.check && !problems.are_none() {
            println!("--check: this run has not passed: {problems}");
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}
