//! Tokens that a model call used, as its provider reports them.

use opentelemetry::KeyValue;

use crate::semconv;

/// Tokens of one step. A count that the provider does not report stays `None` and is no attribute; 0 is a count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the input, those included that a cache served or stored. Some providers report them apart: add them.
    pub input_tokens: Option<u64>,
    /// Tokens of the output, reasoning included.
    pub output_tokens: Option<u64>,
    /// Input tokens that the provider's cache served.
    pub cache_read_input_tokens: Option<u64>,
    /// Input tokens that were written to the provider's cache.
    pub cache_write_input_tokens: Option<u64>,
    /// Output tokens that the model spent on reasoning.
    pub reasoning_output_tokens: Option<u64>,
}

impl Usage {
    /// Input and output.
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self {
            input_tokens: Some(input_tokens),
            output_tokens: Some(output_tokens),
            ..Self::default()
        }
    }

    /// Sets the input tokens that the provider's cache served.
    pub fn cache_read(mut self, tokens: u64) -> Self {
        self.cache_read_input_tokens = Some(tokens);
        self
    }

    /// Sets the input tokens that were written to the provider's cache.
    pub fn cache_write(mut self, tokens: u64) -> Self {
        self.cache_write_input_tokens = Some(tokens);
        self
    }

    /// Sets the output tokens that the model spent on reasoning.
    pub fn reasoning(mut self, tokens: u64) -> Self {
        self.reasoning_output_tokens = Some(tokens);
        self
    }

    /// The attributes of the step's span. A count above `i64::MAX` saturates.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue> + use<> {
        [
            (semconv::USAGE_INPUT_TOKENS, self.input_tokens),
            (semconv::USAGE_OUTPUT_TOKENS, self.output_tokens),
            (
                semconv::USAGE_CACHE_READ_INPUT_TOKENS,
                self.cache_read_input_tokens,
            ),
            (
                semconv::USAGE_CACHE_WRITE_INPUT_TOKENS,
                self.cache_write_input_tokens,
            ),
            (
                semconv::USAGE_REASONING_OUTPUT_TOKENS,
                self.reasoning_output_tokens,
            ),
        ]
        .into_iter()
        .filter_map(|(name, count)| Some(KeyValue::new(name, i64::try_from(count?).unwrap_or(i64::MAX))))
    }
}
