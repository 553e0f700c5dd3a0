//! A good observation has no violation. In each bad one exactly one claim is violated.

use super::*;

const TRACE: u8 = 5;

fn span(name: &str, id: u8, parent: u8) -> SpanSeen {
    SpanSeen {
        trace: vec![TRACE; 16],
        id: vec![id; 8],
        parent: vec![parent; 8],
        name: name.into(),
        times: (10, 20),
    }
}

fn stdout(text: &str) -> Seen {
    Seen::Stdout(text.into())
}

fn good() -> Observed {
    Observed {
        events: vec![
            Seen::Started,
            stdout("one "),
            Seen::Stderr(b"error".into()),
            stdout("two three"),
            Seen::Exited(Exit::Code(7)),
            Seen::Closed { truncated: false },
        ],
        starts: vec![format!("00-{}-{}-01", "05".repeat(16), "03".repeat(8))],
        alive: Vec::new(),
        spans: vec![span("call", 2, 1), span("process", 3, 2)],
        in_file: vec![span("process", 3, 2)],
        caller: (vec![TRACE; 16], vec![1; 8]),
    }
}

fn expected() -> Expected {
    Expected {
        stdout: b"one two three".into(),
        stderr: b"error".into(),
        exit: Exit::Code(7),
        truncated: false,
        may_have_gaps: false,
        leaves: 0,
        calls: 1,
    }
}

#[track_caller]
fn breaks(claim: Claim, change: impl FnOnce(&mut Observed)) {
    let mut observed = good();
    change(&mut observed);
    let mut claims: Vec<_> = check(&observed, &expected())
        .into_iter()
        .map(|(claim, _)| claim)
        .collect();
    claims.dedup();
    assert_eq!(claims, [claim]);
}

#[test]
fn a_good_observation_passes() {
    assert_eq!(check(&good(), &expected()), []);
}

#[test]
fn no_run_and_a_second_one_are_found() {
    breaks(Claim::RunsOnce, |observed| observed.starts.clear());
    breaks(Claim::RunsOnce, |observed| {
        observed.starts.extend(observed.starts.clone());
    });
}

#[test]
fn missing_repeated_swapped_and_invented_bytes_are_found() {
    let claim = Claim::BytesAreWhole;
    breaks(claim, |observed| drop(observed.events.remove(1)));
    breaks(claim, |observed| drop(observed.events.remove(3)));
    breaks(claim, |observed| observed.events.insert(1, stdout("one ")));
    breaks(claim, |observed| observed.events.swap(1, 3));
    breaks(claim, |observed| observed.events[1] = stdout("onf "));
    breaks(claim, |observed| observed.events.insert(4, stdout("x")));
    breaks(claim, |observed| observed.events[2] = Seen::Stderr(b"err".into()));
}

#[test]
fn a_gap_excuses_what_is_missing_there_and_nothing_else() {
    let expected = Expected {
        may_have_gaps: true,
        ..expected()
    };
    let with = |change: fn(&mut Observed)| {
        let mut observed = good();
        observed.events.insert(2, Seen::Gap);
        change(&mut observed);
        check(&observed, &expected).len()
    };
    // All of standard error, and a part of standard output, may be where the gap is.
    assert_eq!(with(|observed| observed.events[4] = stdout("ree")), 0);
    assert_eq!(with(|observed| observed.events[4] = stdout("two")), 1);
    assert_eq!(with(|observed| observed.events[1] = stdout("ne ")), 1);
    assert_eq!(with(|observed| observed.events[4] = stdout("one two three")), 1);
    breaks(Claim::BytesAreWhole, |observed| {
        observed.events.insert(2, Seen::Gap)
    });
}

#[test]
fn a_missing_a_second_and_a_wrong_exit_are_found() {
    breaks(Claim::OneExit, |observed| drop(observed.events.remove(4)));
    breaks(Claim::OneExit, |observed| {
        observed.events.insert(4, Seen::Exited(Exit::Code(7)));
    });
    breaks(Claim::OneExit, |observed| {
        observed.events[4] = Seen::Exited(Exit::Signal(7));
    });
}

#[test]
fn a_missing_a_second_an_early_and_a_wrong_closed_are_found() {
    let claim = Claim::ClosedIsLast;
    breaks(claim, |observed| drop(observed.events.pop()));
    breaks(claim, |observed| {
        observed.events.push(Seen::Closed { truncated: false })
    });
    breaks(claim, |observed| observed.events.swap(4, 5));
    breaks(claim, |observed| {
        observed.events[5] = Seen::Closed { truncated: true }
    });
    breaks(claim, |observed| drop(observed.events.remove(0)));
    breaks(claim, |observed| observed.events.insert(2, Seen::Started));
}

#[test]
fn a_process_that_is_left_is_found() {
    breaks(Claim::NothingRunsOn, |observed| observed.alive.push(17));
}

#[test]
fn spans_without_an_end_a_parent_or_their_process_are_found() {
    let found = |change: fn(&mut Observed)| {
        breaks(Claim::SpansAreClosed, |observed| {
            observed.in_file.clear();
            change(observed);
        });
    };
    found(|observed| observed.spans[1].times.1 = 0);
    found(|observed| observed.spans[1].parent = vec![9; 8]);
    found(|observed| observed.spans.push(span("process", 4, 2)));
    found(|observed| observed.spans[1].name = "other".into());
    found(|observed| observed.spans.push(span("call", 4, 1)));
    found(|observed| observed.spans.push(span("other", 3, 2)));
}

#[test]
fn a_span_of_the_file_with_another_id_name_or_parent_than_the_exported_one_is_found() {
    let claim = Claim::FileIsExported;
    breaks(claim, |observed| observed.in_file[0].id = vec![4; 8]);
    breaks(claim, |observed| observed.in_file[0].name = "other".into());
    breaks(claim, |observed| observed.in_file[0].parent = vec![1; 8]);
    breaks(claim, |observed| observed.in_file.push(span("rpc", 4, 2)));
}

#[test]
fn another_trace_is_found() {
    let claim = Claim::OneTrace;
    breaks(claim, |observed| observed.spans[0].trace = vec![6; 16]);
    breaks(claim, |observed| {
        observed.starts[0] = observed.starts[0].replacen("05", "06", 1);
    });
    breaks(claim, |observed| {
        observed.starts[0] = observed.starts[0].replace("0303", "0404");
    });
}
