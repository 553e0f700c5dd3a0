//! For any messages of publishers: no state beyond its bounds is on the board, and every change is either sent to a
//! watcher or counted as missed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use baton_channel::key::PublicKey;
use baton_fuzz::{Input, Script, Target};
use baton_proto::limits::{THREAD_ID_MAX, WARM_ERROR_MAX, WARM_HISTORY_MAX};
use baton_proto::warm::{WarmRecord, WarmResult, WarmState, warm_result};
use baton_rpc::codec::Checked as _;
use prost::Message as _;

use super::board::{Board, PublicationId};
use super::check;

/// The input: steps of a publisher or of the watcher (see [`run`]).
pub(crate) const STATES: Target = Target {
    name: "warm-states",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let key = PublicKey::from_bytes([1; 32]);
    let mut board = Board::default();
    let (watcher, _) = board.watch(key, None).expect("the board is empty");
    let mark = board.next(key, watcher);
    assert_eq!(mark, Some(WarmState::default()));
    let mut open: HashMap<Arc<str>, PublicationId> = HashMap::new();
    let mut seen = HashSet::new();
    let (mut changes, mut told) = (0_u64, 0_u64);
    while !input.is_empty() {
        match input.u8() % 4 {
            0 | 1 => {
                let Some(state) = accepted(input.chunk()) else {
                    continue;
                };
                let conversation: Arc<str> = state.conversation.as_str().into();
                let is_update = input.bool();
                match open.get(&conversation) {
                    Some(id) if is_update => assert!(board.update(key, &conversation, *id, state)),
                    _ => match board.open(key, &conversation, state) {
                        Ok((id, _)) => drop(open.insert(conversation, id)),
                        Err(_) => continue,
                    },
                }
                changes += 1;
            }
            2 => {
                let Some(conversation) = open.keys().min().cloned() else {
                    continue;
                };
                let id = open.remove(&conversation).expect("it is open");
                board.close(key, &conversation, id);
                board.close(key, &conversation, id);
                changes += 1;
            }
            _ => {
                let Some(message) = board.next(key, watcher) else {
                    continue;
                };
                told += 1 + message.missed;
                note(&mut seen, message);
            }
        }
    }
    while let Some(message) = board.next(key, watcher) {
        told += 1 + message.missed;
        note(&mut seen, message);
    }
    // What was missed after the last message is reported with the next one.
    assert!(told <= changes, "{told} of {changes}");
    let present: HashSet<String> = open.keys().map(|name| name.to_string()).collect();
    assert_eq!(seen, present, "the watcher knows what is on the board");
    for (conversation, id) in open {
        board.close(key, &conversation, id);
    }
    board.unwatch(key, watcher);
    assert!(board.is_empty());
}

/// Keeps which conversations the watcher knows.
fn note(seen: &mut HashSet<String>, message: WarmState) {
    match message.removed {
        true => assert!(
            seen.remove(&message.conversation),
            "the removal of an unknown conversation"
        ),
        false => drop(seen.insert(message.conversation)),
    }
}

/// The state in a message, if the service accepts it, with the bounds that it then has.
fn accepted(wire: &[u8]) -> Option<WarmState> {
    WarmState::check(wire).ok()?;
    let state = WarmState::decode(wire).ok()?;
    check::check(&state).ok()?;
    assert!((1..=THREAD_ID_MAX).contains(&state.conversation.len()));
    assert!(state.history.len() <= WARM_HISTORY_MAX);
    assert!(!state.removed && state.missed == 0);
    let warms = state.history.iter().map(|warm| warm.result.as_ref());
    for result in warms.chain([state.last_result.as_ref()]).flatten() {
        match result.kind.as_ref().expect("it has a kind") {
            warm_result::Kind::HitPercent(percent) => assert!(*percent <= 100),
            warm_result::Kind::Error(error) => assert!(error.len() <= WARM_ERROR_MAX),
        }
    }
    Some(state)
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let result = Some(WarmResult {
        kind: Some(warm_result::Kind::HitPercent(100)),
    });
    let state = |conversation: &str| WarmState {
        conversation: conversation.into(),
        enabled: true,
        interval_ms: 30_000,
        next_warm_unix_ms: Some(1),
        last_result: result.clone(),
        history: vec![WarmRecord {
            result: result.clone(),
            ..WarmRecord::default()
        }],
        change: 1,
        ..WarmState::default()
    };
    let put = |script: Script, conversation: &str, update: u8| {
        script
            .u8(0)
            .chunk(&state(conversation).encode_to_vec())
            .u8(update)
    };
    let long = WarmState {
        history: vec![WarmRecord::default(); WARM_HISTORY_MAX + 1],
        ..state("a")
    };
    let read = |script: Script| script.u8(3);
    let end = |script: Script| script.u8(2);
    let twice = put(put(Script::default(), "a", 0), "a", 1);
    vec![
        ("changes", read(end(put(read(twice), "b", 0))).done()),
        ("unseen", end(put(Script::default(), "a", 0)).done()),
        (
            "replaced",
            read(put(put(Script::default(), "a", 0), "a", 0)).done(),
        ),
        (
            "returned",
            put(end(read(put(Script::default(), "a", 0))), "a", 0).done(),
        ),
        (
            "long-history",
            Script::default().u8(0).chunk(&long.encode_to_vec()).done(),
        ),
        ("garbage", Script::default().u8(0).chunk(b"\xff").u8(3).done()),
    ]
}

#[cfg(test)]
#[test]
fn no_publisher_puts_a_state_beyond_its_bounds_on_the_board_or_hides_a_change() {
    baton_fuzz::replay(&STATES);
}
