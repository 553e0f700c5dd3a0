//! Turns and steps of a caller's loop: an agent's turn, a CI job, as spans around the commands that it runs. Usable
//! with or without remote execution.
//!
//! ```
//! # use futures_util::{StreamExt, stream};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use baton_turn::{Thread, Usage};
//!
//! let thread = Thread::new("conversation-1")?;
//! let turn = thread.turn()?;
//! let step = turn.step()?;
//! let model = stream::iter(["", "Hello", " world"]);
//! let mut tokens = step.stream(model, |token| !token.is_empty());
//! while let Some(token) = tokens.next().await {
//!     print!("{token}");
//! }
//! step.set_usage(Usage::new(100, 2).cache_read(80));
//!
//! let call = step.tool_call("list_files", "call_1")?;
//! // client.run(Command::new("ls").parent(call.remote_parent()).thread(call.thread())).await
//! let _parent = call.remote_parent();
//! call.end();
//! step.end();
//! println!("{:?}", turn.end().user_visible_latency);
//! # Ok(())
//! # }
//! ```
//!
//! * [`Thread`]: a conversation or job; begins turns and links each to the one before;
//! * [`Turn`]: the span `invoke_agent`, a child of the current span or a root;
//! * [`Step`]: the span `chat`, its usage, and its measured streams ([`TimedStream`], [`TimedTryStream`]) with the
//!   spans `ttft` and `decode`;
//! * [`ToolCall`]: the span `execute_tool`, `tool.dispatch`, and the trace context for remote calls;
//! * [`StreamTimings`], [`StepTimings`], [`TurnTimings`]: what was measured;
//! * [`semconv`], [`attribute`]: the names in traces, those of the GenAI conventions and Baton's;
//! * [`context`]: trace contexts between OpenTelemetry's types and Baton's;
//! * [`requests`]: matches a server's timing reports with the client's requests;
//! * [`prefix`]: guards the prefix of requests that a provider can cache;
//! * [`limits`]: every limit, with its reason.
//!
//! Spans go through OpenTelemetry's API to the caller's provider. Their times are explicit, from one anchor on tokio's
//! clock: they are exact on a paused runtime, and no caller injects a clock. Outside of a runtime it is the operating
//! system's clock.
//!
//! Handles may be dropped or ended in any order, from any task. A parent that ends first ends its children. Nothing
//! here waits, except 2 µs in [`ToolCall::remote_parent`]. No method is a future, so nothing can be cancelled halfway.
//! A span processor of the provider must not use the handles of a turn: it runs under the turn's lock.

pub mod attribute;
mod clock;
pub mod context;
mod error;
pub mod limits;
pub mod prefix;
pub mod requests;
pub mod semconv;
mod span;
mod state;
mod step;
mod stream;
mod text;
mod thread;
mod timing;
mod tool_call;
mod turn;
mod usage;

pub use error::{StepError, ThreadError, ToolCallError, TurnError};
pub use step::{Step, StepOptions};
pub use stream::{TimedStream, TimedTryStream};
pub use thread::Thread;
pub use timing::{StepTimings, StreamEnd, StreamTimings, TurnTimings};
pub use tool_call::ToolCall;
pub use turn::Turn;
pub use usage::Usage;
