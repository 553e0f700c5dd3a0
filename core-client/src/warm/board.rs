//! The board of warm sessions on an exec-server: publishes states, and watches those of the same key.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use baton_channel::{Channel, ConnectError, SessionError};
use baton_proto::limits::{
    THREAD_ID_MAX, WARM_CONVERSATIONS_MAX, WARM_ERROR_MAX, WARM_HISTORY_MAX, WARM_STATE_MAX,
};
use baton_proto::warm as wire;
use baton_rpc::warm::warm_client::WarmClient;
use baton_trace::text::printable;
use futures_util::stream;
use tonic::{Code, Status, Streaming};

use super::WarmInterval;
use super::state::{HitPercent, WarmRecord, WarmResult, WarmState, WarmTrigger};
use super::warmer::WarmWatch;
use crate::client::Client;
use crate::error::{TransportFailure, status_text};

/// Publishes and watches states on an exec-server. Cheap to clone.
#[derive(Clone)]
pub struct WarmBoard {
    client: WarmClient<Channel>,
}

/// Why a state could not be published or watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WarmBoardError {
    /// No session with the exec-server could be established.
    #[error(transparent)]
    Connect(ConnectError),
    /// The session ended during the call.
    #[error("{0}")]
    Session(SessionError),
    /// The exec-server has no board: its version is older than the board, or the program that it is part of does not
    /// mount `baton_exec_server::WarmService`.
    #[error(
        "this exec-server has no board of warm sessions: its version is too old, or its program does not mount \
         WarmService; update it, or mount the service"
    )]
    NoBoard,
    /// Another client with the same key publishes this conversation since.
    #[error("{0}")]
    Replaced(String),
    /// The exec-server shuts down.
    #[error("{0}")]
    Unavailable(String),
    /// A response that violates the protocol.
    #[error("the exec-server sent {0}; if client and exec-server have the same version, report it")]
    Protocol(&'static str),
    /// Any other error, with the exec-server's message.
    #[error("{}", status_text(.0))]
    Rpc(Status),
}

impl From<Status> for WarmBoardError {
    fn from(status: Status) -> Self {
        match TransportFailure::from_status(&status) {
            Some(TransportFailure::Connect(error)) => return Self::Connect(error),
            Some(TransportFailure::Session(error)) => return Self::Session(error),
            None => {}
        }
        match status.code() {
            Code::Unimplemented => Self::NoBoard,
            Code::Aborted => Self::Replaced(printable(status.message()).into_owned()),
            Code::Unavailable => Self::Unavailable(printable(status.message()).into_owned()),
            _ => Self::Rpc(status),
        }
    }
}

/// What a watcher receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BoardEvent {
    /// A conversation's latest state.
    State {
        /// The thread's id.
        conversation: String,
        /// Its state.
        state: WarmState,
    },
    /// The conversation is no longer published.
    Removed {
        /// The thread's id.
        conversation: String,
    },
    /// Every state that was published before the watch began has been returned.
    Complete,
}

/// The events of a watched board.
#[derive(Debug)]
pub struct WatchedBoard {
    states: Streaming<wire::WarmState>,
    reader: BoardReader,
}

/// Checks what an exec-server sends, without IO. A hostile one must not make the watcher remember more conversations
/// than a board has.
#[derive(Debug, Default)]
struct BoardReader {
    /// Conversations that were returned and not removed.
    known: HashSet<String>,
    missed: u64,
}

// Here, so that `client` does not import this module.
impl Client {
    /// The board of warm sessions on the exec-server. Uses the same session.
    pub fn warm_board(&self) -> WarmBoard {
        WarmBoard {
            client: WarmClient::new(self.channel()).max_decoding_message_size(WARM_STATE_MAX),
        }
    }
}

impl WarmBoard {
    /// Publishes the states of a conversation until its warmer is dropped. If the exec-server is slower than the
    /// states change, it gets the latest one. Dropping the future removes the conversation from the board.
    ///
    /// # Errors
    /// [`WarmBoardError`]. The conversation is no longer on the board.
    pub async fn publish(
        &self,
        conversation: impl Into<Arc<str>>,
        states: WarmWatch,
    ) -> Result<(), WarmBoardError> {
        let conversation = conversation.into();
        let states = stream::unfold(states, move |mut states| {
            let conversation = Arc::clone(&conversation);
            async move {
                let change = states.next().await?;
                Some((to_wire(&conversation, &change.state), states))
            }
        });
        self.client.clone().publish(Box::pin(states)).await?;
        Ok(())
    }

    /// Watches a conversation, or every conversation that this client's key publishes.
    ///
    /// # Errors
    /// [`WarmBoardError`].
    pub async fn watch(&self, conversation: Option<&str>) -> Result<WatchedBoard, WarmBoardError> {
        let request = wire::WatchRequest {
            conversation: conversation.unwrap_or_default().into(),
        };
        let states = self.client.clone().watch(request).await?.into_inner();
        Ok(WatchedBoard {
            states,
            reader: BoardReader::default(),
        })
    }
}

impl WatchedBoard {
    /// The next event; the latest state of a conversation that changed several times. Cancellation safe.
    ///
    /// # Errors
    /// [`WarmBoardError`]. The watch has ended; nothing is known about the conversations any more.
    pub async fn next(&mut self) -> Result<BoardEvent, WarmBoardError> {
        let Some(state) = self.states.message().await? else {
            return Err(WarmBoardError::Protocol("an end of a watch, which has none"));
        };
        self.reader.read(state)
    }

    /// The number of changes so far that were not returned, because this client read too slowly.
    pub fn missed(&self) -> u64 {
        self.reader.missed
    }
}

impl BoardReader {
    fn read(&mut self, state: wire::WarmState) -> Result<BoardEvent, WarmBoardError> {
        self.missed = self.missed.saturating_add(state.missed);
        if state.conversation.is_empty() {
            return Ok(BoardEvent::Complete);
        }
        if state.conversation.len() > THREAD_ID_MAX {
            return Err(WarmBoardError::Protocol("a conversation's id that is too long"));
        }
        if state.removed {
            self.known.remove(&state.conversation);
            return Ok(BoardEvent::Removed {
                conversation: state.conversation,
            });
        }
        let conversation = state.conversation.clone();
        let state = from_wire(state).ok_or(WarmBoardError::Protocol("an invalid warm state"))?;
        self.known.insert(conversation.clone());
        if self.known.len() > WARM_CONVERSATIONS_MAX {
            return Err(WarmBoardError::Protocol("more conversations than a key has"));
        }
        Ok(BoardEvent::State { conversation, state })
    }
}

fn to_wire(conversation: &str, state: &WarmState) -> wire::WarmState {
    wire::WarmState {
        conversation: conversation.into(),
        enabled: state.enabled,
        interval_ms: state.interval.as_millis(),
        active: state.active,
        next_warm_unix_ms: state.next_warm_at,
        last_warm_unix_ms: state.last_warm_at,
        last_result: state.last_result.as_ref().map(result_to_wire),
        history: state.history.iter().map(record_to_wire).collect(),
        change: state.change,
        removed: false,
        missed: 0,
    }
}

fn result_to_wire(result: &WarmResult) -> wire::WarmResult {
    let kind = match result {
        WarmResult::Warmed { hit } => wire::warm_result::Kind::HitPercent(hit.get().into()),
        WarmResult::Failed { error } if error.is_empty() => {
            wire::warm_result::Kind::Error("the warm failed without a reason".into())
        }
        WarmResult::Failed { error } => wire::warm_result::Kind::Error(error.as_ref().into()),
    };
    wire::WarmResult { kind: Some(kind) }
}

fn record_to_wire(record: &WarmRecord) -> wire::WarmRecord {
    wire::WarmRecord {
        ended_unix_ms: record.at,
        manual: record.trigger == WarmTrigger::Manual,
        result: Some(result_to_wire(&record.result)),
        duration_ms: u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
    }
}

/// `None`: a value is outside of its bounds.
fn from_wire(state: wire::WarmState) -> Option<WarmState> {
    if state.history.len() > WARM_HISTORY_MAX {
        return None;
    }
    let last_result = match state.last_result {
        Some(result) => Some(result_from_wire(result)?),
        None => None,
    };
    Some(WarmState {
        enabled: state.enabled,
        interval: WarmInterval::try_from(Duration::from_millis(state.interval_ms)).ok()?,
        active: state.active,
        next_warm_at: state.next_warm_unix_ms,
        last_warm_at: state.last_warm_unix_ms,
        last_result,
        history: state
            .history
            .into_iter()
            .map(record_from_wire)
            .collect::<Option<_>>()?,
        change: state.change,
    })
}

fn result_from_wire(result: wire::WarmResult) -> Option<WarmResult> {
    Some(match result.kind? {
        wire::warm_result::Kind::HitPercent(percent) => WarmResult::Warmed {
            hit: HitPercent::new(percent.try_into().ok()?)?,
        },
        wire::warm_result::Kind::Error(error) => WarmResult::Failed {
            error: Some(error).filter(|error| error.len() <= WARM_ERROR_MAX)?.into(),
        },
    })
}

fn record_from_wire(record: wire::WarmRecord) -> Option<WarmRecord> {
    Some(WarmRecord {
        at: record.ended_unix_ms,
        trigger: match record.manual {
            true => WarmTrigger::Manual,
            false => WarmTrigger::Automatic,
        },
        result: result_from_wire(record.result?)?,
        duration: Duration::from_millis(record.duration_ms),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn result() -> impl Strategy<Value = WarmResult> {
        prop_oneof![
            (0..=100_u8).prop_map(|hit| WarmResult::Warmed {
                hit: HitPercent::new(hit).unwrap()
            }),
            ".{1,128}".prop_map(|error| WarmResult::Failed { error: error.into() }),
        ]
    }

    prop_compose! {
        fn record()(at: u64, manual: bool, result in result(), ms: u64) -> WarmRecord {
            let trigger = if manual { WarmTrigger::Manual } else { WarmTrigger::Automatic };
            WarmRecord { at, trigger, result, duration: Duration::from_millis(ms) }
        }
    }

    prop_compose! {
        fn state()(
            enabled: bool,
            ms in 100..604_800_000_u64,
            active: bool,
            next_warm_at: Option<u64>,
            last_warm_at: Option<u64>,
            last_result in proptest::option::of(result()),
            history in proptest::collection::vec(record(), 0..=WARM_HISTORY_MAX),
            change: u64,
        ) -> WarmState {
            let interval = Duration::from_millis(ms).try_into().unwrap();
            WarmState { enabled, interval, active, next_warm_at, last_warm_at, last_result, history, change }
        }
    }

    proptest! {
        #[test]
        fn a_state_survives_the_wire(state in state()) {
            let wire = to_wire("thread", &state).encode_to_vec();
            prop_assert_eq!(from_wire(wire::WarmState::decode(&*wire).unwrap()), Some(state));
        }
    }

    #[test]
    fn the_bytes_of_a_state_stay_as_they_are() {
        let result = WarmResult::Warmed { hit: HitPercent::ALL };
        let state = WarmState {
            enabled: true,
            interval: Duration::from_secs(30).try_into().unwrap(),
            active: false,
            next_warm_at: Some(2),
            last_warm_at: Some(1),
            last_result: Some(result.clone()),
            history: vec![WarmRecord {
                at: 1,
                trigger: WarmTrigger::Manual,
                result,
                duration: Duration::from_millis(7),
            }],
            change: 3,
        };
        let bytes = b"\x0a\x01t\x10\x01\x18\xb0\xea\x01\x28\x02\x30\x01\x3a\x02\x08\x64\
            \x42\x0a\x08\x01\x10\x01\x1a\x02\x08\x64\x20\x07\x48\x03";
        assert_eq!(to_wire("t", &state).encode_to_vec(), bytes);
    }

    #[test]
    fn a_state_with_the_longest_values_fits_the_limit_of_its_message() {
        let result = WarmResult::Failed {
            error: "e".repeat(WARM_ERROR_MAX).into(),
        };
        let record = WarmRecord {
            at: u64::MAX,
            trigger: WarmTrigger::Manual,
            result: result.clone(),
            duration: Duration::MAX,
        };
        let state = WarmState {
            enabled: true,
            interval: Duration::from_secs(30).try_into().unwrap(),
            active: true,
            next_warm_at: Some(u64::MAX),
            last_warm_at: Some(u64::MAX),
            last_result: Some(result),
            history: vec![record; WARM_HISTORY_MAX],
            change: u64::MAX,
        };
        assert!(to_wire(&"t".repeat(THREAD_ID_MAX), &state).encoded_len() < WARM_STATE_MAX);
    }

    #[test]
    fn a_watcher_refuses_more_conversations_than_a_key_has() {
        let mut reader = BoardReader::default();
        let state = |number: usize| wire::WarmState {
            conversation: number.to_string(),
            interval_ms: 30_000,
            missed: 1,
            ..wire::WarmState::default()
        };
        let removed = |number: usize| wire::WarmState {
            removed: true,
            ..state(number)
        };
        for number in 0..10 * WARM_CONVERSATIONS_MAX {
            reader.read(state(number)).unwrap();
            reader.read(removed(number)).unwrap();
        }
        for number in 0..WARM_CONVERSATIONS_MAX {
            reader.read(state(number)).unwrap();
            reader.read(state(number)).unwrap();
        }
        assert!(matches!(
            reader.read(state(WARM_CONVERSATIONS_MAX)),
            Err(WarmBoardError::Protocol(_))
        ));
        assert_eq!(reader.missed, 22 * WARM_CONVERSATIONS_MAX as u64 + 1);
        let long = wire::WarmState {
            conversation: "a".repeat(THREAD_ID_MAX + 1),
            ..state(0)
        };
        assert!(BoardReader::default().read(long).is_err());
        let mark = wire::WarmState::default();
        assert_eq!(reader.read(mark).unwrap(), BoardEvent::Complete);
    }

    #[test]
    fn values_outside_of_their_bounds_are_refused() {
        let good = wire::WarmState {
            interval_ms: 30_000,
            ..wire::WarmState::default()
        };
        assert!(from_wire(good.clone()).is_some());
        let hit = |percent| {
            Some(wire::WarmResult {
                kind: Some(wire::warm_result::Kind::HitPercent(percent)),
            })
        };
        let bad = [
            wire::WarmState {
                interval_ms: 0,
                ..good.clone()
            },
            wire::WarmState {
                interval_ms: u64::MAX,
                ..good.clone()
            },
            wire::WarmState {
                last_result: hit(101),
                ..good.clone()
            },
            wire::WarmState {
                last_result: hit(256),
                ..good.clone()
            },
            wire::WarmState {
                last_result: Some(wire::WarmResult { kind: None }),
                ..good.clone()
            },
            wire::WarmState {
                history: vec![wire::WarmRecord::default()],
                ..good.clone()
            },
            wire::WarmState {
                history: vec![
                    wire::WarmRecord {
                        result: hit(1),
                        ..wire::WarmRecord::default()
                    };
                    WARM_HISTORY_MAX + 1
                ],
                ..good
            },
        ];
        for state in bad {
            assert_eq!(from_wire(state.clone()), None, "{state:?}");
        }
    }
}
