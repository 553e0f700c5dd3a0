//! Why a thread, a turn, a step or a tool call was refused. One enum per operation; each is the caller's to solve.

use crate::limits::{STEP_ID_MAX, STEPS_MAX, THREAD_ID_MAX, TOOL_CALLS_MAX, TURN_MAX};

/// Why [`Thread::new`](crate::Thread::new) or [`Thread::resume`](crate::Thread::resume) failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ThreadError {
    /// The id is empty.
    #[error("the thread's id is empty; pass the id of the conversation or job")]
    EmptyId,
    /// The id is longer than [`THREAD_ID_MAX`].
    #[error("the thread's id has {bytes} bytes; the limit is {THREAD_ID_MAX}; pass a shorter one")]
    IdTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The id has a control character, which no exec-server accepts.
    #[error("the thread's id has a control character; pass one without")]
    ControlCharacter,
    /// The number of the last turn is above [`TURN_MAX`].
    #[error("the number of the last turn is {number}; the limit is {TURN_MAX}; begin a new thread")]
    TurnNumber {
        /// The number.
        number: u64,
    },
}

/// Why [`Thread::turn`](crate::Thread::turn) failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TurnError {
    /// The last turn had the number [`TURN_MAX`].
    #[error("the thread has {TURN_MAX} turns, which is the limit; begin a new thread")]
    TooManyTurns,
}

/// Why [`Turn::step`](crate::Turn::step) failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The turn had [`STEPS_MAX`] steps.
    #[error("the turn has {STEPS_MAX} steps, which is the limit; end it and begin another turn")]
    TooManySteps,
    /// The id is empty.
    #[error("the step's id is empty; pass an id, or none for the step's index")]
    EmptyId,
    /// The id is longer than [`STEP_ID_MAX`].
    #[error("the step's id has {bytes} bytes; the limit is {STEP_ID_MAX}; pass a shorter one")]
    IdTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The id has a control character, which no exec-server accepts.
    #[error("the step's id has a control character; pass one without")]
    ControlCharacter,
}

/// Why [`Step::tool_call`](crate::Step::tool_call) failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolCallError {
    /// The step had [`TOOL_CALLS_MAX`] tool calls.
    #[error("the step has {TOOL_CALLS_MAX} tool calls, which is the limit; end it and begin another step")]
    TooManyToolCalls,
    /// The turn ended, and the step with it.
    #[error("the step ended with its turn; keep the turn until its tool calls have ended")]
    StepEnded,
}
