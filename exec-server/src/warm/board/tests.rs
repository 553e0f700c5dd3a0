use super::*;

fn one() -> PublicKey {
    PublicKey::from_bytes([1; 32])
}

fn other() -> PublicKey {
    PublicKey::from_bytes([2; 32])
}

fn state(conversation: &str, change: u64) -> WarmState {
    WarmState {
        conversation: conversation.into(),
        change,
        ..WarmState::default()
    }
}

/// Each message as conversation, change or removal, and the number of missed changes.
fn drain(board: &mut Board, key: PublicKey, id: WatcherId) -> Vec<(String, Option<u64>, u64)> {
    let mut messages = Vec::new();
    while let Some(message) = board.next(key, id) {
        let change = (!message.removed).then_some(message.change);
        messages.push((message.conversation, change, message.missed));
    }
    messages
}

fn message(conversation: &str, change: Option<u64>, missed: u64) -> (String, Option<u64>, u64) {
    (conversation.into(), change, missed)
}

/// The mark that the present states are complete.
fn mark() -> (String, Option<u64>, u64) {
    message("", Some(0), 0)
}

fn name(conversation: &str) -> Arc<str> {
    conversation.into()
}

#[test]
fn a_watcher_gets_the_present_states_then_the_mark_then_each_change_and_removal() {
    let mut board = Board::default();
    let (a, b) = (name("a"), name("b"));
    let (publication, _) = board.open(one(), &a, state("a", 1)).unwrap();
    let (id, _) = board.watch(one(), None).unwrap();
    assert_eq!(drain(&mut board, one(), id), [message("a", Some(1), 0), mark()]);
    let (second, _) = board.open(one(), &b, state("b", 1)).unwrap();
    assert!(board.update(one(), &a, publication, state("a", 2)));
    board.close(one(), &b, second);
    board.close(one(), &a, publication);
    let messages = drain(&mut board, one(), id);
    assert_eq!(
        messages,
        [message("a", None, 3)],
        "b came and went, and a changed"
    );
    assert_eq!(board.conversations, 0);
    board.unwatch(one(), id);
    assert!(board.keys.is_empty());
}

#[test]
fn conversations_of_another_key_are_invisible() {
    let mut board = Board::default();
    board.open(other(), &name("a"), state("a", 1)).unwrap();
    let (id, _) = board.watch(one(), None).unwrap();
    let (named, _) = board.watch(one(), Some("a")).unwrap();
    board.open(other(), &name("b"), state("b", 1)).unwrap();
    assert_eq!(drain(&mut board, one(), id), [mark()]);
    assert_eq!(drain(&mut board, one(), named), [mark()]);
    assert_eq!(board.next(one(), id), None);
    assert_eq!(board.next(other(), id), None, "an id of another key");
}

#[test]
fn a_watcher_of_one_conversation_gets_no_other() {
    let mut board = Board::default();
    let (id, _) = board.watch(one(), Some("a")).unwrap();
    let (publication, _) = board.open(one(), &name("b"), state("b", 1)).unwrap();
    board.open(one(), &name("a"), state("a", 1)).unwrap();
    board.close(one(), &name("b"), publication);
    assert_eq!(drain(&mut board, one(), id), [mark(), message("a", Some(1), 0)]);
}

#[test]
fn a_second_publication_of_a_conversation_replaces_the_first() {
    let mut board = Board::default();
    let a = name("a");
    let (first, _) = board.open(one(), &a, state("a", 1)).unwrap();
    let (second, _) = board.open(one(), &a, state("a", 5)).unwrap();
    assert!(!board.update(one(), &a, first, state("a", 2)));
    board.close(one(), &a, first);
    let (id, _) = board.watch(one(), None).unwrap();
    assert_eq!(drain(&mut board, one(), id)[0], message("a", Some(5), 0));
    assert_eq!(board.conversations, 1);
    board.close(one(), &a, second);
    assert_eq!(board.conversations, 0);
}

#[test]
fn a_watcher_that_does_not_read_costs_bounded_memory_and_gets_the_latest_states() {
    let mut board = Board::default();
    let (id, _) = board.watch(one(), None).unwrap();
    drain(&mut board, one(), id);
    let a = name("a");
    let (publication, _) = board.open(one(), &a, state("a", 0)).unwrap();
    for change in 1..=10_000 {
        assert!(board.update(one(), &a, publication, state("a", change)));
    }
    assert_eq!(drain(&mut board, one(), id), [message("a", Some(10_000), 10_000)]);
    for round in 0..10_000 {
        let passing = name(&format!("passing-{round}"));
        let (publication, _) = board.open(one(), &passing, state("p", 0)).unwrap();
        board.close(one(), &passing, publication);
    }
    let watcher = &board.keys[&one()].watchers[&id];
    assert!(watcher.order.is_empty() && watcher.pending.is_empty());
    assert!(board.update(one(), &a, publication, state("a", 7)));
    assert_eq!(drain(&mut board, one(), id), [message("a", Some(7), 20_000)]);
}

#[test]
fn conversations_and_watchers_are_bounded_for_each_key_and_in_total() {
    let mut board = Board::default();
    let key = |number: usize| PublicKey::from_bytes([number as u8 + 1; 32]);
    let mut opened = 0;
    let full = 'full: loop {
        for number in 0..WARM_CONVERSATIONS_MAX {
            let conversation = name(&number.to_string());
            let client = key(opened / WARM_CONVERSATIONS_MAX);
            if let Err(full) = board.open(client, &conversation, state("x", 0)) {
                break 'full full;
            }
            opened += 1;
        }
        let client = key(opened / WARM_CONVERSATIONS_MAX - 1);
        assert_eq!(
            board.open(client, &name("more"), state("x", 0)).unwrap_err(),
            BoardFull::KeyConversations
        );
        board
            .open(client, &name("0"), state("x", 1))
            .expect("it replaces one");
    };
    assert_eq!(
        (full, opened),
        (BoardFull::Conversations, BOARD_CONVERSATIONS_MAX)
    );
    let mut watchers = Vec::new();
    let full = 'full: loop {
        let client = key(watchers.len() / BOARD_KEY_WATCHERS_MAX);
        for _ in 0..BOARD_KEY_WATCHERS_MAX {
            match board.watch(client, None) {
                Ok((id, _)) => watchers.push((client, id)),
                Err(full) => break 'full full,
            }
        }
        assert_eq!(board.watch(client, None).unwrap_err(), BoardFull::KeyWatchers);
    };
    assert_eq!((full, watchers.len()), (BoardFull::Watchers, BOARD_WATCHERS_MAX));
    for (client, id) in watchers {
        board.unwatch(client, id);
    }
    assert_eq!(board.watchers, 0);
    board.watch(one(), None).expect("there is room again");
}
