//! For any file content: a client is allowed only if the last line of its key is valid.

use baton_fuzz::Target;

use super::*;

/// The input: the file.
pub(crate) const ALLOW_LIST: Target = Target {
    name: "allow-list",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let parsed = Lines::parse(bytes);
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let bad: Vec<_> = (1..)
        .zip(&lines)
        .filter(|(_, line)| matches!(parse_line(line), Line::Bad(..)))
        .map(|(number, _)| number)
        .take(ALLOW_LIST_PROBLEMS)
        .collect();
    let reported: Vec<_> = parsed.bad.iter().map(|bad| bad.number).collect();
    assert_eq!(reported, bad, "the first bad lines are reported");
    for (key, client) in &parsed.entries {
        let Ok(client) = client else { continue };
        assert!(!client.name.is_empty() && !client.name.contains([' ', '#']));
        // The last line of the key, parsed alone, gives the same client.
        let text = key.to_string();
        let of_key = |line: &&&[u8]| {
            let line = std::str::from_utf8(line).ok();
            let word = line.and_then(|line| line.split('#').next()?.split_whitespace().next());
            word == Some(&text)
        };
        let last = lines
            .iter()
            .rev()
            .find(of_key)
            .expect("the client's key is on a line");
        let Line::Client(read, alone) = parse_line(last) else {
            panic!("a bad line allows a client");
        };
        assert_eq!(
            (read, &alone.name, alone.trust),
            (*key, &client.name, client.trust)
        );
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let key = PublicKey::from_bytes([9; 32]).to_string();
    let other = PublicKey::from_bytes([8; 32]).to_string();
    let zero = PublicKey::from_bytes([0; 32]).to_string();
    let of = |lines: &[String]| lines.join("\n").into_bytes();
    vec![
        (
            "list",
            of(&[
                "# who may".into(),
                format!("{key} laptop continue # mine"),
                String::new(),
                format!("  {other}\tci\r"),
            ]),
        ),
        (
            "bad-trust",
            of(&[format!("{key} laptop"), format!("{key} laptop always")]),
        ),
        (
            "no-name",
            of(&[format!("{key} # name"), format!("{other} ci restart")]),
        ),
        ("too-many-words", of(&[format!("{key} a clamp b")])),
        ("low-order", of(&[format!("{zero} nobody")])),
        (
            "not-text",
            [key.as_bytes(), b" a\xff\n", other.as_bytes(), b" b"].concat(),
        ),
    ]
}

#[cfg(test)]
#[test]
fn no_bad_line_lets_a_client_in() {
    baton_fuzz::replay(&ALLOW_LIST);
}
