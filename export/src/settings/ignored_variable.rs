//! Variables without effect.

use std::fmt;

use baton_trace::text::printable;

/// A variable with an unsupported value, which is ignored as the specification requires. Its [`Display`](fmt::Display)
/// is a sentence that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredVariable {
    pub(super) variable: &'static str,
    pub(super) value: String,
    pub(super) why: &'static str,
}

impl fmt::Display for IgnoredVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = printable(&self.value);
        write!(f, "{}: `{value}` is ignored: {}", self.variable, self.why)
    }
}
