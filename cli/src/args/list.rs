//! The options of every command that prints a list.

/// The length and the format of a list.
#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// Print at most this many; 0 for all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
    /// Print one JSON object per line, for programs
    #[arg(long)]
    pub(crate) json: bool,
}
