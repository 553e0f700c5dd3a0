//! Refuses states that a client must not publish: other clients of its key receive them.

use std::time::Duration;

use baton_proto::limits::{
    THREAD_ID_MAX, WARM_ERROR_MAX, WARM_HISTORY_MAX, WARM_INTERVAL_MAX, WARM_INTERVAL_MIN,
};
use baton_proto::warm::{WarmResult, WarmState, warm_result};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidWarmState {
    #[error("a conversation's id has 1 to {THREAD_ID_MAX} bytes and no control character")]
    Conversation,
    #[error("one call publishes one conversation; publish another in a call of its own")]
    OtherConversation,
    #[error("an interval has {} to {} ms", WARM_INTERVAL_MIN.as_millis(), WARM_INTERVAL_MAX.as_millis())]
    Interval,
    #[error("no warm is due while a call runs or warming is disabled; omit next_warm_unix_ms then")]
    Due,
    #[error("a result is a hit percentage up to 100, or an error of 1 to {WARM_ERROR_MAX} bytes")]
    Result,
    #[error("a history has at most {WARM_HISTORY_MAX} warms; send the last ones")]
    History,
    #[error("`removed` and `missed` are set by the exec-server; omit them")]
    Foreign,
    #[error("the message does not decode: send that of this method")]
    Unreadable,
    #[error("the call ended before its first state")]
    Missing,
    #[error("no state arrived in time; send the first one with the call")]
    TooLate,
}

/// Checks every field of a published state.
pub(super) fn check(state: &WarmState) -> Result<(), InvalidWarmState> {
    conversation(&state.conversation)?;
    let bounds = WARM_INTERVAL_MIN..=WARM_INTERVAL_MAX;
    if !bounds.contains(&Duration::from_millis(state.interval_ms)) {
        return Err(InvalidWarmState::Interval);
    }
    if state.next_warm_unix_ms.is_some() && (state.active || !state.enabled) {
        return Err(InvalidWarmState::Due);
    }
    if state.removed || state.missed > 0 {
        return Err(InvalidWarmState::Foreign);
    }
    if state.history.len() > WARM_HISTORY_MAX {
        return Err(InvalidWarmState::History);
    }
    if let Some(last) = &state.last_result {
        result(Some(last))?;
    }
    state
        .history
        .iter()
        .try_for_each(|warm| result(warm.result.as_ref()))
}

pub(super) fn conversation(id: &str) -> Result<(), InvalidWarmState> {
    match id.is_empty() || id.len() > THREAD_ID_MAX || id.chars().any(char::is_control) {
        true => Err(InvalidWarmState::Conversation),
        false => Ok(()),
    }
}

fn result(result: Option<&WarmResult>) -> Result<(), InvalidWarmState> {
    match result.and_then(|result| result.kind.as_ref()) {
        Some(warm_result::Kind::HitPercent(0..=100)) => Ok(()),
        Some(warm_result::Kind::Error(error)) if (1..=WARM_ERROR_MAX).contains(&error.len()) => Ok(()),
        _ => Err(InvalidWarmState::Result),
    }
}
