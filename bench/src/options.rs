//! The options that every benchmark has.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;

/// Shared options. A benchmark flattens them into its own options, which [`parse`] reads.
#[derive(Debug, clap::Args)]
// A benchmark's own options have the same name, and so would their groups, which clap refuses in a debug build.
#[group(skip)]
pub struct Options {
    /// Measure less, for a first look and for CI
    #[arg(long)]
    pub quick: bool,
    /// Run only this phase; repeatable. Without it, all phases run
    #[arg(long, value_name = "PHASE")]
    pub only: Vec<String>,
    /// Seed of the bootstrap; a random one is printed
    #[arg(long)]
    pub seed: Option<u64>,
    /// Write every number to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the rows that have a bar to this file, as a Markdown table with the commit, the seed and the machine
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Exit with 1 unless every row was measured, was judgeable and reached its bar
    #[arg(long)]
    pub check: bool,
    /// Cargo passes this
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// Parses the command line. `phases` are the values that `--only` accepts.
pub fn parse<O: clap::Parser>(phases: impl IntoIterator<Item = &'static str>) -> O {
    let phases = PossibleValuesParser::new(phases);
    let matches = O::command()
        .mut_arg("only", |only| only.value_parser(phases))
        .get_matches();
    O::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}
