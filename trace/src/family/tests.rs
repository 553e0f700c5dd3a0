//! The detector against two that hold all output: one of parsers that it does not know, and the [plain] one.

use std::ops::ControlFlow;

use proptest::prelude::*;
use prost::Message as _;
use serde_json::Value;

use super::*;
use crate::limits::{FAMILY_LINE_MAX, FAMILY_OUTPUT_MAX, JSON_DEPTH_MAX};

use Detection::{Ready, Searching, Stopped};
use Family::{EventStream, JsonLines, JsonRpc, Prompt, Text};

/// Where the marker ends in all output, or why it is unavailable; `chunks` are read one after another.
fn detect<'a>(family: Family, chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<usize, Unavailable> {
    let mut detector = Detector::new(family);
    let mut before = 0;
    let end = chunks.into_iter().try_for_each(|chunk| {
        let detection = detector.feed(chunk);
        match detection {
            Searching => {
                before += chunk.len();
                ControlFlow::Continue(())
            }
            Ready { end } => ControlFlow::Break(Ok(before + end)),
            Stopped(reason) => ControlFlow::Break(Err(reason)),
        }
    });
    match end {
        ControlFlow::Break(end) => end,
        ControlFlow::Continue(()) => match detector.finish(true) {
            Ready { end } => Ok(before + end),
            Stopped(reason) => Err(reason),
            Searching => panic!("it is over"),
        },
    }
}

/// The output in chunks of 1, 2, 3, 7 bytes and whole: where the marker ends, which is always the same.
fn marker(family: Family, output: &[u8]) -> Result<usize, Unavailable> {
    let whole = detect(family, [output]);
    for size in [1, 2, 3, 7] {
        assert_eq!(
            detect(family, output.chunks(size)),
            whole,
            "in chunks of {size}: {output:?}"
        );
    }
    whole
}

fn assert_markers(family: Family, cases: &[(&str, Result<usize, Unavailable>)]) {
    for (output, expected) in cases {
        assert_eq!(marker(family, output.as_bytes()), *expected, "{output:?}");
    }
}

const NOT: Result<usize, Unavailable> = Err(Unavailable::NotRecognised);

#[test]
fn a_family_has_one_row_and_one_name() {
    for (nth, def) in FAMILIES.iter().enumerate() {
        assert_eq!(def.family.def(), &FAMILIES[nth]);
        assert_eq!(Family::from_name(def.name), Some(def.family));
        assert_eq!(Family::from_wire(def.family.to_wire()), Some(def.family));
        assert_eq!(def.ready.observer, Observer::ExecServer);
        assert_eq!(def.session_init.observer, Observer::Caller);
    }
    assert_eq!(Family::from_name("JSONL"), None);
    assert_eq!(Family::from_wire(Default::default()), None);
}

#[test]
fn a_reason_has_one_name_and_states_the_limits() {
    for reason in Unavailable::ALL {
        assert_eq!(Unavailable::from_name(reason.name()), Some(reason));
    }
    assert_eq!(
        (FAMILY_LINE_MAX, FAMILY_OUTPUT_MAX),
        (256 << 10, 1 << 20),
        "the descriptions say so"
    );
}

#[test]
fn a_json_line_is_a_complete_line_that_is_an_object() {
    assert_markers(
        JsonLines,
        &[
            ("{}\n", Ok(3)),
            (" {\"a\": [1, -2.5e+3, true, null, \"\\u00e9\"]} \r\nrest", Ok(45)),
            ("{}", Ok(2)),
            ("starting\n\n\r\n{\"a\":1}\n", Ok(20)),
            ("[{}]\n\"text\"\n17\nnull\n{}\n", Ok(23)),
            ("{\"a\":\n1}\n", NOT),
            ("{} {}\n", NOT),
            (
                "{\"a\":01}\n{\"a\":1.}\n{\"a\":+1}\n{a:1}\n{\"a\":1,}\n{\"a\":[1,]}\n{'a':1}\n",
                NOT,
            ),
            (
                "{\"a\":\"\t\"}\n{\"\\x\":1}\n{\"\\u00g0\":1}\n{\"a\":tru}\n{\"a\":1]\n",
                NOT,
            ),
            ("\u{feff}{}\n", Ok(6)),
            ("\u{feff}\u{feff}{}\n", NOT),
            ("", Err(Unavailable::NotSeen)),
            ("\n", NOT),
        ],
    );
    for bytes in [
        &b"\xef\xbb{}\n"[..],
        b"{\"a\":\"\xff\"}\n",
        b"{\"a\":\"\xed\xa0\x80\"}\n",
        b"{\"a\":\"\xc3\"}\n",
        b"{\"a\":\"\xc3x\"}\n",
        b"\0\0\0{}\n",
    ] {
        assert_eq!(marker(JsonLines, bytes), NOT, "{bytes:?}");
    }
    assert_eq!(marker(JsonLines, "{\"é\":\"€😀\"}\n".as_bytes()), Ok(17));
}

#[test]
fn an_unterminated_line_counts_only_where_the_end_was_observed() {
    let mut cut = Detector::new(JsonLines);
    assert_eq!(cut.feed(b"{}"), Searching);
    assert_eq!(cut.finish(false), Stopped(Unavailable::NotRecognised));
    assert_eq!(cut.feed(b"\n"), Stopped(Unavailable::NotRecognised), "it is over");
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: u32| {
        let arrays = depth as usize - 1;
        format!("{{\"a\":{}{}}}\n", "[".repeat(arrays), "]".repeat(arrays))
    };
    let deepest = nested(JSON_DEPTH_MAX);
    assert_eq!(marker(JsonLines, deepest.as_bytes()), Ok(deepest.len()));
    assert_eq!(marker(JsonLines, nested(JSON_DEPTH_MAX + 1).as_bytes()), NOT);
}

#[test]
fn a_json_rpc_message_is_a_request_a_notification_a_response_or_a_batch() {
    let messages = [
        r#"{"jsonrpc":"2.0","method":"m"}"#,
        r#"{"jsonrpc":"2.0","method":"m","params":[1,{"jsonrpc":1}],"id":null}"#,
        r#"{"id":1,"result":null,"jsonrpc":"2.0"}"#,
        r#"{"id":"a","error":{"code":-32700,"message":"no","data":{"code":"x"}},"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"\u0032.0","\u006dethod":"m"}"#,
        r#"{"jsonrpc":"1.0","jsonrpc":"2.0","method":"m","more":{"id":[]}}"#,
        r#"[{"jsonrpc":"2.0","method":"m"}, {"jsonrpc":"2.0","result":1,"id":1}]"#,
    ];
    for message in messages {
        let line = format!("{message}\r\n");
        assert_eq!(marker(JsonRpc, line.as_bytes()), Ok(line.len()), "{message}");
        assert_eq!(
            marker(JsonRpc, message.as_bytes()),
            Ok(message.len()),
            "{message}"
        );
        let framed = format!("Content-Length: {}\r\n\r\n{message}", message.len());
        assert_eq!(marker(JsonRpc, framed.as_bytes()), Ok(framed.len()), "{message}");
    }
    for other in [
        r#"{}"#,
        r#"{"method":"m"}"#,
        r#"{"jsonrpc":2.0,"method":"m"}"#,
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.00","method":"m"}"#,
        r#"{"jsonrpc":"2.0","method":1}"#,
        r#"{"jsonrpc":"2.0","method":"m","id":true}"#,
        r#"{"jsonrpc":"2.0","method":"m","params":"p"}"#,
        r#"{"jsonrpc":"2.0","method":"m","result":1,"id":1}"#,
        r#"{"jsonrpc":"2.0","result":1}"#,
        r#"{"jsonrpc":"2.0","result":1,"error":{"code":1,"message":"m"},"id":1}"#,
        r#"{"jsonrpc":"2.0","error":{"code":"1","message":"m"},"id":1}"#,
        r#"{"jsonrpc":"2.0","error":"no","id":1}"#,
        r#"{"jsonrpc":"2.0","error":{"code":1,"message":"m"},"error":{"code":1},"id":1}"#,
        r#"{"jsonrpcs":"2.0","method":"m"}"#,
        r#"{"a":{"jsonrpc":"2.0","method":"m"}}"#,
        "[]",
        "[1]",
        r#"[{"jsonrpc":"2.0","method":"m"},{}]"#,
        r#"[[{"jsonrpc":"2.0","method":"m"}]]"#,
        r#""jsonrpc""#,
    ] {
        assert_eq!(marker(JsonRpc, format!("{other}\n").as_bytes()), NOT, "{other}");
        let framed = format!("Content-Length: {}\r\n\r\n{other}", other.len());
        assert_eq!(marker(JsonRpc, framed.as_bytes()), NOT, "{other}");
    }
}

#[test]
fn a_message_behind_a_header_is_found_after_what_is_no_message() {
    let message = "{\"jsonrpc\": \"2.0\",\n \"method\": \"m\"}";
    let length = message.len();
    for before in [
        "",
        "server 1.0: listening\n",
        "Content-Length: 2\r\n\r\n{}",
        "Content-Length: 7\r\nno field\r\n\r\n",
        "Content-Length: 99999999999999999999999\r\nx y\n",
        "Content-Length: 0\r\n\r\n",
        "{\"jsonrpc\":\"2.0\"}\n",
    ] {
        for header in [
            format!("Content-Length: {length}\r\n\r\n"),
            format!("content-length:{length}\n\n"),
            format!(
                "Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: {length} \r\n\r\n"
            ),
            format!("Content-Length: {length}\r\nContent-Type: application/vscode-jsonrpc\r\n\r\n"),
            format!("Content-Length: 3\r\nContent-Length: {length}\r\n\r\n"),
        ] {
            let output = format!("{before}{header}{message}rest");
            let end = output.len() - "rest".len();
            assert_eq!(marker(JsonRpc, output.as_bytes()), Ok(end), "{output}");
        }
    }
    let cut = format!("Content-Length: {}\r\n\r\n{message}", length + 1);
    assert_eq!(marker(JsonRpc, cut.as_bytes()), NOT, "the body is not complete");
    let long = format!("Content-Length: {}\r\n\r\n", FAMILY_LINE_MAX + 1);
    assert_eq!(marker(JsonRpc, long.as_bytes()), Err(Unavailable::LineTooLong));
    let longest = |length: usize| {
        let message = format!("{message}{}", " ".repeat(length - message.len()));
        format!("Content-Length: {length}\r\n\r\n{message}")
    };
    let output = longest(FAMILY_LINE_MAX);
    assert_eq!(detect(JsonRpc, [output.as_bytes()]), Ok(output.len()));
    let longer = longest(FAMILY_LINE_MAX + 1);
    assert_eq!(
        detect(JsonRpc, [longer.as_bytes()]),
        Err(Unavailable::LineTooLong)
    );
}

#[test]
fn a_prompt_behind_a_long_line_is_none_and_many_short_lines_are_no_long_one() {
    let long = "x".repeat(FAMILY_LINE_MAX - 1);
    for (end, expected) in [
        ("$ ", Err(Unavailable::LineTooLong)),
        ("$ \n", Err(Unavailable::LineTooLong)),
        ("xx\nno prompt", Err(Unavailable::LineTooLong)),
        ("xx\n$ ", Ok(FAMILY_LINE_MAX + 4)),
        ("\nno prompt", NOT),
    ] {
        let output = format!("{long}{end}");
        assert_eq!(detect(Prompt, [output.as_bytes()]), expected, "{end:?}");
        assert_eq!(
            detect(Prompt, [long.as_bytes(), end.as_bytes()]),
            expected,
            "{end:?}"
        );
    }
    let lines = "lines of a log\n".repeat(FAMILY_LINE_MAX / 10);
    assert_eq!(detect(Prompt, [lines.as_bytes()]), NOT);
}

#[test]
fn an_event_is_a_blank_line_after_data() {
    assert_markers(
        EventStream,
        &[
            ("data: a\n\n", Ok(9)),
            ("data\n\n", Ok(6)),
            ("data:\r\rrest", Ok(7)),
            (": hello\n\nevent: x\nid: 1\ndata: a\n\nrest", Ok(33)),
            ("event: x\n\n", NOT),
            ("event: x\n\ndata: y\n\n", Ok(19)),
            ("\u{feff}data: a\n\n", Ok(12)),
            (" data: a\n\ndatas: a\n\ndat\n\nDATA: a\n\n", NOT),
            ("data: a\n", NOT),
            ("data: a", NOT),
            ("\n\n\r\r\n", NOT),
        ],
    );
    let pair = b"data: a\r\n\r\nrest";
    assert_eq!(detect(EventStream, [&pair[..]]), Ok(11));
    assert_eq!(
        detect(EventStream, pair.chunks(1)),
        Ok(10),
        "the CR ends the line"
    );
}

#[test]
fn text_is_ready_with_its_first_chunk() {
    assert_eq!(detect(Text, [&b""[..], b"\0", b"more"]), Ok(1));
    assert_eq!(detect(Text, [&b"hello"[..]]), Ok(5));
    assert_eq!(detect(Text, []), Err(Unavailable::NotSeen));
    assert_eq!(detect(Text, [&b""[..]]), Err(Unavailable::NotSeen));
}

#[test]
fn a_prompt_is_the_end_of_a_read_and_of_an_unterminated_line() {
    for prompt in [
        "$ ",
        "# ",
        "> ",
        "% ",
        ">>> ",
        "ada@host:~$ ",
        "Python 3\r\nType help\r\n>>> ",
        "\x1b[?2004h\x1b[01;32mada\x1b[00m:\x1b[34m~\x1b[0m$ ",
        "\x1b]0;title # \x07$ \x1b[K",
        "\x1b]0;title\x1b\\\x1b(B# ",
        "50 %\r$ ",
    ] {
        let bytes = prompt.as_bytes();
        assert_eq!(detect(Prompt, [bytes]), Ok(bytes.len()), "{prompt:?}");
        let divided = detect(Prompt, bytes.chunks(1));
        assert!(
            divided.is_ok_and(|end| end + "\x1b[K".len() >= bytes.len()),
            "{prompt:?}"
        );
    }
    for other in [
        "$",
        "$ \n",
        "$ ls",
        "a $ b",
        "\x1b]0;title # ",
        "\x1b[0",
        "$ \r",
        "",
        "\n",
    ] {
        assert!(detect(Prompt, [other.as_bytes()]).is_err(), "{other:?}");
    }
}

/// `output` once, then `end`, in reads of 64 KiB.
fn long(family: Family, unit: &[u8], total: usize, end: &[u8]) -> Result<usize, Unavailable> {
    let output = [&unit.repeat(total / unit.len())[..], end].concat();
    detect(family, output.chunks(64 * 1024))
}

#[test]
fn a_line_beyond_its_bound_is_no_marker_and_the_next_line_may_be() {
    let message = r#"{"jsonrpc":"2.0","method":"m"}"#;
    for (family, begin, marker) in [
        (JsonLines, "{\"a\":\"", "{}\n"),
        (JsonRpc, "{\"jsonrpc\":\"", message),
        (EventStream, "data: ", "data: x\n\n"),
    ] {
        for length in [FAMILY_LINE_MAX - 64, FAMILY_LINE_MAX + 1] {
            let line = format!("{begin}{}\n{marker}", "x".repeat(length - begin.len()));
            let found = detect(family, line.as_bytes().chunks(64 * 1024));
            // Of an event stream the lines are one event.
            assert_eq!(found, Ok(line.len()), "{family:?} {length}");
        }
        let endless = format!("{begin}{}\n", "x".repeat(FAMILY_LINE_MAX));
        assert_eq!(
            detect(family, [endless.as_bytes()]),
            Err(Unavailable::LineTooLong),
            "{family:?}"
        );
    }
    let longest = format!("{{\"a\":\"{}\"}}\n", "x".repeat(FAMILY_LINE_MAX - 8));
    assert_eq!(longest.len(), FAMILY_LINE_MAX + 1);
    assert_eq!(detect(JsonLines, [longest.as_bytes()]), Ok(longest.len()));
    let longer = longest.replace("\"}", " \"}");
    assert_eq!(
        detect(JsonLines, [longer.as_bytes()]),
        Err(Unavailable::LineTooLong)
    );
}

#[test]
fn detection_stops_at_its_bound() {
    const MIB: usize = 1 << 20;
    for family in [JsonLines, JsonRpc, EventStream, Prompt] {
        let lines = long(family, b"lines of a log\n", 2 * MIB, b"{}\ndata: x\n\n$ ");
        assert_eq!(lines, Err(Unavailable::LookedAtLimit), "{family:?}");
        let one = long(family, b"x", 64 * MIB, b"\n{}\ndata: x\n\n$ ");
        assert_eq!(one, Err(Unavailable::LineTooLong), "{family:?}");
    }
}

#[test]
fn the_last_byte_before_the_bound_may_complete_the_marker() {
    let output = ["\n".repeat(FAMILY_OUTPUT_MAX - 3), "{}\n".to_owned()].concat();
    assert_eq!(detect(JsonLines, [output.as_bytes()]), Ok(FAMILY_OUTPUT_MAX));
    let output = ["\n".repeat(FAMILY_OUTPUT_MAX - 2), "{}\n".to_owned()].concat();
    assert_eq!(
        detect(JsonLines, [output.as_bytes()]),
        Err(Unavailable::LookedAtLimit)
    );
}

#[test]
fn an_answer_is_repeated() {
    let mut detector = Detector::new(JsonLines);
    assert_eq!(detector.feed(b"{}\n{}"), Ready { end: 3 });
    assert_eq!(detector.feed(b"anything"), Ready { end: 0 });
    assert_eq!(detector.finish(true), Ready { end: 0 });
}

#[test]
fn a_detector_is_small_whatever_it_looks_at() {
    assert!(size_of::<Detector>() <= 320, "{}", size_of::<Detector>());
}

/// The end of the first marker, by parsers that need all of it.
fn naive(family: Family, output: &[u8]) -> Option<usize> {
    let text = output.strip_prefix("\u{feff}".as_bytes()).unwrap_or(output);
    let offset = output.len() - text.len();
    let mut end = offset;
    if family == EventStream {
        let mut has_data = false;
        let mut rest = text;
        while let Some(length) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            let line = &rest[..length];
            end += length + if rest[length..].starts_with(b"\r\n") { 2 } else { 1 };
            rest = &output[end..];
            match line {
                b"" if has_data => return Some(end),
                b"" => {}
                b"data" => has_data = true,
                line => has_data |= line.starts_with(b"data:"),
            }
        }
        return None;
    }
    text.split_inclusive(|byte| *byte == b'\n').find_map(|line| {
        end += line.len();
        let json: Value = serde_json::from_slice(line).ok()?;
        let is_marker = match family {
            JsonLines => json.is_object(),
            JsonRpc => match &json {
                Value::Array(batch) => !batch.is_empty() && batch.iter().all(is_message),
                one => is_message(one),
            },
            _ => unreachable!(),
        };
        is_marker.then_some(end)
    })
}

fn is_message(value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return false;
    };
    let get = |name| object.get(name);
    let id = get("id").map(|id| id.is_string() || id.is_number() || id.is_null());
    let params = get("params").is_none_or(|params| params.is_object() || params.is_array());
    let is_error = |error: &Value| error["code"].is_number() && error["message"].is_string();
    get("jsonrpc") == Some(&Value::from("2.0"))
        && match (get("method"), get("result"), get("error")) {
            (Some(method), None, None) => method.is_string() && id != Some(false) && params,
            (None, Some(_), None) => id == Some(true),
            (None, None, Some(error)) => id == Some(true) && is_error(error),
            _ => false,
        }
}

/// Pieces of every family, so that chance puts markers together and breaks them.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        &b"{"[..],
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"{}",
        b"1",
        b"-0.5e7",
        b"true",
        b"null",
        b"\\u0041",
        b"\"jsonrpc\":\"2.0\"",
        b"\"method\":\"m\"",
        b"\"id\":1",
        b"\"result\":{}",
        b"\"error\":{\"code\":1,\"message\":\"\"}",
        b"\"params\":[]",
        b"data",
        b"data: x",
        b"event: e",
        b": comment",
        b"\xef\xbb\xbf",
        b"\xc3\xa9",
        b"\xff",
        b"\0",
        b"$ ",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Output with long runs, so that lines, messages and output pass their bounds.
fn long_pieces() -> impl Strategy<Value = Vec<u8>> {
    let lengths = [
        1,
        1,
        7,
        100,
        FAMILY_LINE_MAX - 10,
        FAMILY_LINE_MAX,
        FAMILY_LINE_MAX + 1,
        FAMILY_OUTPUT_MAX / 2,
    ];
    let units = vec![
        &b"x"[..],
        b" ",
        b"\n",
        b"\r\n",
        b"\xc3\xa9",
        b"[",
        b"\\n",
        b"{\"a\":[1,true]}",
    ];
    let run = (
        prop::sample::select(units),
        prop::sample::select(lengths.to_vec()),
    )
        .prop_map(|(unit, length)| unit.repeat(length.div_ceil(unit.len())));
    let text = prop::sample::select(vec![
        &b"{\"a\":\""[..],
        b"\"}\n",
        b"{}",
        b"{\"jsonrpc\":\"2.0\",\"method\":\"",
        b"Content-Length: 262100\r\n\r\n",
        b"Content-Length: 262145\n\n",
        b"data: ",
        b"\n\n",
        b"\n",
    ])
    .prop_map(<[u8]>::to_vec);
    prop::collection::vec(prop_oneof![1 => run, 3 => text], 0..10).prop_map(|parts| parts.concat())
}

fn assert_plain(output: &[u8], sizes: &[usize]) -> Result<(), TestCaseError> {
    for family in [JsonLines, JsonRpc, EventStream] {
        let mut rest = output;
        let chunks = sizes.iter().cycle().map_while(|size| {
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            rest = after;
            (!chunk.is_empty()).then_some(chunk)
        });
        let divided = detect(family, chunks);
        let plain = plain::detect(family, output);
        if family == EventStream && divided != plain {
            // The LF of a CR LF that came later.
            prop_assert_eq!(divided.map(|end| end + 1), plain);
        } else {
            prop_assert_eq!(divided, plain, "{:?}", family);
        }
    }
    Ok(())
}

/// JSON texts of any shape.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC*".prop_map(Value::from),
        Just(Value::from("2.0")),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let name = prop_oneof![
            "\\PC{0,3}".prop_map(String::from),
            prop::sample::select(vec![
                "jsonrpc", "method", "id", "params", "result", "error", "code", "message"
            ])
            .prop_map(String::from),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_result_is_that_of_a_parser_of_all_output_whatever_the_chunks(
        output in pieces(), sizes in prop::collection::vec(1usize..9, 1..6)
    ) {
        for family in [JsonLines, JsonRpc, EventStream] {
            let whole = detect(family, [&output[..]]);
            prop_assert_eq!(whole.ok(), naive(family, &output), "{:?}", family);
            let mut rest = &output[..];
            let chunks = sizes.iter().cycle().map_while(|size| {
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                rest = after;
                (!chunk.is_empty()).then_some(chunk)
            });
            let divided = detect(family, chunks);
            if family == EventStream && whole != divided {
                // The LF of a CR LF that came later.
                prop_assert_eq!(divided.unwrap() + 1, whole.unwrap());
            } else {
                prop_assert_eq!(divided, whole, "{:?}", family);
            }
        }
    }

    #[test]
    fn any_json_is_recognised_and_any_broken_byte_decided_as_a_parser_does(
        value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut line = serde_json::to_vec(&value).unwrap();
        line.push(b'\n');
        for family in [JsonLines, JsonRpc] {
            prop_assert_eq!(detect(family, [&line[..]]).ok(), naive(family, &line));
        }
        let at = at.index(line.len());
        line[at] = byte;
        for family in [JsonLines, JsonRpc] {
            prop_assert_eq!(detect(family, [&line[..]]).ok(), naive(family, &line), "{:?}", line);
        }
    }

    #[test]
    fn the_result_is_that_of_the_plain_search_whatever_the_chunks(
        output in pieces(), values in prop::collection::vec(json(), 0..3), at in any::<prop::sample::Index>(),
        byte in any::<u8>(), sizes in prop::collection::vec(1usize..40, 1..6)
    ) {
        assert_plain(&output, &sizes)?;
        let lines: Vec<String> = values.iter().map(|value| format!("{value}\n")).collect();
        let mut lines = lines.concat().into_bytes();
        assert_plain(&lines, &sizes)?;
        if !lines.is_empty() {
            let at = at.index(lines.len());
            lines[at] = byte;
            assert_plain(&lines, &sizes)?;
        }
    }

    #[test]
    fn a_prompt_depends_on_all_output_and_on_where_a_read_ends(
        reads in prop::collection::vec("[a$#>%\\n\\r \\x1b\\[\\]\\x07m0]{0,6}", 0..6)
    ) {
        let chunks = reads.iter().map(String::as_bytes);
        let mut output = Vec::new();
        let naive = reads.iter().find_map(|read| {
            output.extend_from_slice(read.as_bytes());
            (!read.is_empty() && detect(Prompt, [&output[..]]).is_ok()).then_some(output.len())
        });
        prop_assert_eq!(detect(Prompt, chunks).ok(), naive);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_result_is_that_of_the_plain_search_at_every_bound(
        output in long_pieces(), size in prop::sample::select(vec![4096_usize, 65_536, 65_537, 4 << 20])
    ) {
        assert_plain(&output, &[size])?;
    }
}

/// Any summary.
fn summaries() -> impl Strategy<Value = FamilySummary> {
    let families: Vec<_> = FAMILIES.iter().map(|def| def.family).collect();
    let reason = prop::option::of(prop::sample::select(Unavailable::ALL.to_vec()));
    let parts = (
        prop::sample::select(families),
        prop::array::uniform3(reason),
        any::<u64>(),
    );
    parts.prop_map(|(family, unavailable, remainder_ns)| FamilySummary {
        family,
        unavailable,
        remainder_ns,
    })
}

proptest! {
    #[test]
    fn a_summary_is_the_same_after_the_wire(summary in summaries()) {
        let encoded = summary.to_wire().encode_to_vec();
        let decoded = wire::FamilyReport::decode(&encoded[..]).unwrap();
        prop_assert_eq!(FamilySummary::from_wire(&decoded), Some(summary));
    }

    #[test]
    fn a_summary_is_the_same_after_a_span(summary in summaries()) {
        let attributes: Vec<_> = summary.attributes().collect();
        let value = |name: &str| {
            let found = attributes.iter().find(|attribute| attribute.key.as_str() == name)?;
            Some(&found.value)
        };
        let text = |name: &str| match value(name)? {
            opentelemetry::Value::String(text) => Some(text.as_str()),
            _ => None,
        };
        let integer = |name: &str| match value(name)? {
            opentelemetry::Value::I64(number) => Some(*number),
            _ => None,
        };
        let expected = FamilySummary {
            // The largest integer of an attribute.
            remainder_ns: summary.remainder_ns.min(i64::MAX as u64),
            ..summary
        };
        prop_assert_eq!(FamilySummary::from_attributes(text, integer), Some(expected));
    }
}

#[test]
fn a_report_has_these_bytes_and_what_a_later_version_adds_is_skipped() {
    let summary = FamilySummary {
        family: JsonRpc,
        unavailable: [None, Some(Unavailable::NoReady), None],
        remainder_ns: 300,
    };
    let mut report = summary.to_wire();
    assert_eq!(
        report.encode_to_vec(),
        b"\x08\x02\x12\x0c\x08\x29\x12\x08no_ready\x18\xac\x02"
    );
    for (stage, reason) in [(40, "later"), (99, "no_ready")] {
        report.unavailable.push(wire::UnavailableStage {
            stage,
            reason: reason.into(),
        });
    }
    assert_eq!(FamilySummary::from_wire(&report), Some(summary));
    for family in [0, 6, -1] {
        let unknown = wire::FamilyReport {
            family,
            ..report.clone()
        };
        assert_eq!(FamilySummary::from_wire(&unknown), None, "{family}");
    }
}
