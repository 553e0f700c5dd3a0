//! Fuzzes the detectors: the result is that of the [plain](super::plain) search, does not depend on chunks, and nothing
//! but the bounds decides how much is looked at.

use baton_fuzz::{Input, Script, Target};

use super::{Detection, Detector, FAMILIES, Family, plain};

/// Output in chunks. The input: the family, then chunks.
pub(crate) const DETECTOR: Target = Target {
    name: "family-detector",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let family = FAMILIES[usize::from(input.u8()) % FAMILIES.len()].family;
    let mut chunked = Detector::new(family);
    let mut output = Vec::new();
    let mut found = None;
    while !input.is_empty() {
        let chunk = input.chunk();
        match chunked.feed(chunk) {
            Detection::Searching => assert!(found.is_none(), "it searched after an answer"),
            Detection::Ready { end } if found.is_none() => {
                assert!((1..=chunk.len()).contains(&end), "a marker ends in its chunk");
                found = Some(output.len() + end);
            }
            Detection::Ready { end } => assert_eq!(end, 0, "a marker was found twice"),
            Detection::Stopped(reason) => assert!(found.is_none(), "{reason:?} after a marker"),
        }
        output.extend_from_slice(chunk);
    }
    if matches!(family, Family::Text | Family::Prompt) {
        return;
    }
    let mut whole = Detector::new(family);
    let at_once = match whole.feed(&output) {
        Detection::Ready { end } => Some(end),
        _ => None,
    };
    // In chunks, the LF of a CR LF may follow the marker.
    let is_same = at_once == found || family == Family::EventStream && at_once == found.map(|end| end + 1);
    assert!(is_same, "{at_once:?} at once, {found:?} in chunks");
    let (whole, chunked) = (whole.finish(true), chunked.finish(true));
    assert_eq!(whole, chunked, "at the end");
    let answer = match (at_once, whole) {
        (Some(end), _) => Ok(end),
        (None, Detection::Ready { .. }) => Ok(output.len()),
        (None, Detection::Stopped(reason)) => Err(reason),
        (None, Detection::Searching) => unreachable!("it is over"),
    };
    assert_eq!(answer, plain::detect(family, &output), "{family:?}");
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "jsonl",
            seed(
                Family::JsonLines,
                &["log\n{\"a\":", "[1,-2.5e3,\"\\u0041", "é\"]}\r\n"],
            ),
        ),
        (
            "mcp",
            seed(
                Family::JsonRpc,
                &[r#"{"jsonrpc":"2.0","id":1,"#, r#""result":{}}"#, "\n"],
            ),
        ),
        (
            "lsp",
            seed(
                Family::JsonRpc,
                &[
                    "Content-Length: 30\r",
                    "\n\r\n{\"jsonrpc\":",
                    "\"2.0\",\"method\":\"m\"}",
                ],
            ),
        ),
        (
            "rpc-error",
            seed(
                Family::JsonRpc,
                &[
                    r#"[{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}]"#,
                    "\n",
                ],
            ),
        ),
        (
            "events",
            seed(
                Family::EventStream,
                &["\u{feff}: c\r\nevent: e\r", "\ndata: x\r\n\r", "\n"],
            ),
        ),
        ("text", seed(Family::Text, &["", "hello"])),
        (
            "prompt",
            seed(Family::Prompt, &["\x1b]0;t\x07\x1b[1m", "ada$ ", "ls\n", ">>> "]),
        ),
    ]
}

fn seed(family: Family, chunks: &[&str]) -> Vec<u8> {
    let nth = FAMILIES.iter().position(|def| def.family == family);
    let script = Script::default().u8(nth.unwrap_or_default() as u8);
    let script = chunks
        .iter()
        .fold(script, |script, chunk| script.chunk(chunk.as_bytes()));
    script.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detectors_withstand_any_output() {
        baton_fuzz::replay(&DETECTOR);
    }
}
