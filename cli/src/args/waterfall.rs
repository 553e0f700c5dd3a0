//! How much of a waterfall `run` and `exec` draw.

/// The detail in which a waterfall is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WaterfallDetail {
    /// Every stage
    Full,
    /// The stages over 5 %, the remainder and the trace id
    Brief,
}
