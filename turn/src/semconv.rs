//! Every name that this crate takes from OpenTelemetry's GenAI conventions. A test asserts that no other file of the
//! crate's sources has one.
//!
//! The conventions are in development and have no release, so the names are pinned to one commit of
//! <https://github.com/open-telemetry/semantic-conventions-genai>, `024a4f944a1291fcb627c9c47da69e79868dd15e`:
//!
//! * `docs/gen-ai/client-inference.md` has the operations, conversation, provider, model, time to first chunk and usage;
//! * `docs/gen-ai/gen-ai-spans.md`, under "Execute tool span", has tool, call and agent.
//!
//! The conventions say that a span's name SHOULD end with the agent, the model or the tool (`chat gpt-4`). Baton's span
//! names are the bare operation: a name of low cardinality can be counted and compared across models, and the suffix is
//! an attribute of the same span anyway.

/// Name and operation of a turn's span (INTERNAL).
pub const INVOKE_AGENT: &str = "invoke_agent";
/// Name and operation of a step's span (CLIENT).
pub const CHAT: &str = "chat";
/// Name and operation of a tool call's span (INTERNAL).
pub const EXECUTE_TOOL: &str = "execute_tool";

/// On all three: the operation. String.
pub const OPERATION_NAME: &str = "gen_ai.operation.name";
/// On turns and steps: the thread. String.
pub const CONVERSATION_ID: &str = "gen_ai.conversation.id";
/// On turns: the agent, if the caller named one. String.
pub const AGENT_NAME: &str = "gen_ai.agent.name";
/// On steps: the model's provider, if the caller named it. String.
pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
/// On steps: the requested model, if the caller named it. String.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// On steps: seconds from the start of the stream to its first chunk, whatever the chunk holds. Double.
pub const RESPONSE_TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
/// On tool calls: the tool. String.
pub const TOOL_NAME: &str = "gen_ai.tool.name";
/// On tool calls: the id that the model gave the call. String.
pub const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";

/// On steps: tokens of the input, cached ones included. Int.
pub const USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// On steps: tokens of the output, reasoning included. Int.
pub const USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// On steps: input tokens that a provider's cache served. Int.
pub const USAGE_CACHE_READ_INPUT_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// On steps: input tokens that were written to a provider's cache. Older conventions say `cache_creation`. Int.
pub const USAGE_CACHE_WRITE_INPUT_TOKENS: &str = "gen_ai.usage.cache_write.input_tokens";
/// On steps: output tokens that the model spent on reasoning. Int.
pub const USAGE_REASONING_OUTPUT_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";

/// On failed spans: a class of error of low cardinality. String. From the general conventions, where it is stable.
pub const ERROR_TYPE: &str = "error.type";
