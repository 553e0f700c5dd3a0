//! The options of every command that prints a list.

/// How much of a list, and for whom.
#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// At most so many; 0 for all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
    /// One JSON object a line, for programs
    #[arg(long)]
    pub(crate) json: bool,
}
