//! For any file content: a client is allowed, and restricted, only as the last line of its key states; a line whose
//! options are not understood allows nobody.

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
    for bad in &parsed.bad {
        let text = bad.reason.to_string();
        assert!(
            !text.chars().any(char::is_control) && text.len() < 2_000,
            "{text:?}"
        );
    }
    for (key, client) in &parsed.entries {
        let Ok(client) = client else { continue };
        assert!(!client.name.is_empty() && !client.name.contains([' ', '#']));
        check_options(&client.grant.options);
        // The last line with the key in it, unless that is a comment or a value, gives the same client alone.
        let text = key.to_string();
        let last = lines.iter().rev().find(|line| names(line, &text));
        let last = last.expect("the client's key is on a line");
        let Line::Client(read, alone) = parse_line(last) else {
            panic!("a bad line allows a client");
        };
        assert_eq!((read, &alone), (*key, client));
    }
}

fn check_options(options: &ClientOptions) {
    if let Some(user) = options.user() {
        assert!(!user.is_empty() && !user.contains(['\0', '\n', ':', '/', ' ']));
    }
    if let Some(command) = options.command() {
        assert!(!command.is_empty() && !command.contains(['\0', '\n', '\x1b']));
    }
}

/// Whether a line is about this key. A good line names its key behind its options; a bad line is about every key in it.
fn names(line: &[u8], key: &str) -> bool {
    let text = String::from_utf8_lossy(line);
    match parse_line(line) {
        Line::Blank => false,
        Line::Client(read, _) => read.to_string() == key,
        Line::Bad(..) if text.trim_start().starts_with('#') => false,
        Line::Bad(..) => {
            let text = match text.contains('"') {
                true => &*text,
                false => text.split('#').next().unwrap_or_default(),
            };
            let is_of_a_word = |c: char| c.is_ascii_alphanumeric() || "_-+:".contains(c);
            text.split(|c| !is_of_a_word(c)).any(|word| word == key)
        }
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
        (
            "options",
            of(&[
                format!("command=\"printf \\\"#\\\" # ,\",expires=\"20271231Z\" {key} ci restart # x"),
                format!("EXPIRES=\"2027-12-31T23:59:59.5Z\",user=\"b\"\t{other} laptop"),
            ]),
        ),
        (
            "unknown-option",
            of(&[format!("{key} a"), format!("from=\"b\",command=\"c\" {key} a")]),
        ),
        (
            "unclosed-quote",
            of(&[format!("{key} a"), format!("command=\"b # {key} a")]),
        ),
        (
            "repeated-option",
            of(&[format!("command=\"a\",Command=\"b\" {key} c")]),
        ),
    ]
}

#[cfg(test)]
#[test]
fn no_bad_line_lets_a_client_in() {
    baton_fuzz::replay(&ALLOW_LIST);
}
