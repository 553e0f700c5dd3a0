//! Checks that each claim of docs/SECURITY.md names tests that exist and that have the claim's subject.
//!
//! The claims are in list items: each sentence is followed by the names of the tests that prove it. A test's name must
//! share a content word with its claim. So a name behind the wrong sentence, and a sentence that was changed to another
//! subject, fail here. Whether the test proves the claim is for a reviewer.
//!
//! The sources are parsed into Rust tokens: a name in a comment or a string is no test, and neither is a helper
//! function.

use std::collections::BTreeSet;

use baton_support::sources::{crates, rust_files, workspace};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

type Tests = BTreeSet<String>;

/// A macro that makes a test of each function in its list.
const MAKES_TESTS: &str = "with_each_spawn_method";

/// Adds the functions of these tokens, and of every block in them, that are marked as tests: `#[test]`,
/// `#[tokio::test(...)]`, within `proptest!`, and in the list of [`MAKES_TESTS`].
fn collect(tokens: TokenStream, tests: &mut Tests) {
    let mut is_test = false;
    let mut words = Words::default();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(sign) if sign.as_char() == '#' => {
                if let Some(TokenTree::Group(attribute)) = tokens.peek()
                    && attribute.delimiter() == Delimiter::Bracket
                {
                    is_test |= is_test_attribute(attribute.stream());
                    tokens.next();
                }
            }
            TokenTree::Ident(word) if word == MAKES_TESTS && is_sign(tokens.peek(), '!') => {
                tokens.next();
                if let Some(TokenTree::Group(list)) = tokens.next() {
                    tests.extend(list.stream().into_iter().filter_map(name));
                }
            }
            TokenTree::Ident(word) => words.push(word.to_string()),
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Parenthesis
                    && let Some(name) = words.function()
                    && std::mem::take(&mut is_test)
                {
                    tests.insert(name);
                }
                if group.delimiter() == Delimiter::Brace {
                    // The body of the item with the attributes ends their scope.
                    is_test = false;
                }
                words = Words::default();
                collect(group.stream(), tests);
            }
            TokenTree::Punct(sign) if sign.as_char() == ';' => is_test = false,
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn is_sign(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(found)) if found.as_char() == sign)
}

fn name(token: TokenTree) -> Option<String> {
    match token {
        TokenTree::Ident(name) => Some(name.to_string()),
        _ => None,
    }
}

/// The last two words before a parenthesis.
#[derive(Default)]
struct Words([String; 2]);

impl Words {
    fn push(&mut self, word: String) {
        self.0.rotate_left(1);
        self.0[1] = word;
    }

    fn function(&self) -> Option<String> {
        (self.0[0] == "fn").then(|| self.0[1].clone())
    }
}

/// Whether the path of an attribute ends in `test`.
fn is_test_attribute(attribute: TokenStream) -> bool {
    let path = attribute
        .into_iter()
        .take_while(|token| matches!(token, TokenTree::Ident(_) | TokenTree::Punct(_)));
    path.last().is_some_and(|last| last.to_string() == "test")
}

/// Normalizes a sentence: removes line breaks, code and bold marks, and punctuation at its ends.
fn plain(text: &str) -> String {
    let text = text.replace(['`', '*'], "");
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").trim_matches(['.', ':', ';', ',', ' ']).to_owned()
}

/// Whether code is the name of a test: at least four words.
fn is_test_name(code: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    code.matches('_').count() >= 3 && code.chars().all(is_word)
}

/// The sentences in the list items of a page, each with the tests that are named behind it.
fn claims_on(page: &str) -> Vec<(String, Vec<String>)> {
    let mut claims = Vec::new();
    let mut items: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in page.lines() {
        if let Some(begun) = line.strip_prefix("- ") {
            items.push(begun.into());
            is_open = true;
        } else if line.starts_with("  ") && is_open {
            let item = items.last_mut().unwrap();
            item.push(' ');
            item.push_str(line.trim());
        } else {
            is_open = false;
        }
    }
    for item in items {
        // Prose and code alternate.
        let mut sentence = String::new();
        let mut tests: Vec<String> = Vec::new();
        for (index, piece) in item.split('`').enumerate() {
            if index % 2 == 1 && is_test_name(piece) {
                tests.push(piece.into());
                continue;
            }
            let ends = |c: char| !matches!(c, ' ' | ',' | ';' | '(' | ')');
            if !tests.is_empty() && piece.contains(ends) {
                claims.push((plain(&sentence), std::mem::take(&mut tests)));
                sentence.clear();
                // Punctuation behind the names belongs to the previous sentence.
                sentence.push_str(piece.trim_start_matches([')', '.', ';', ',', ' ']));
                continue;
            }
            sentence.push_str(piece);
        }
        if !tests.is_empty() {
            claims.push((plain(&sentence), tests));
        }
    }
    for (sentence, _) in &mut claims {
        *sentence = plain(sentence.trim_end_matches([' ', '(', ',']));
    }
    claims
}

fn all_tests() -> Tests {
    let folders = crates()
        .into_iter()
        .flat_map(|folder| ["src", "tests"].map(|part| folder.join(part)));
    let files: Vec<_> = folders.flat_map(|folder| rust_files(&folder)).collect();
    let mut tests = Tests::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let tokens: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        collect(tokens, &mut tests);
    }
    tests
}

#[test]
fn every_claim_names_a_test_that_exists() {
    let tests = all_tests();
    let page = std::fs::read_to_string(workspace().join("docs/SECURITY.md")).unwrap();
    let claims = claims_on(&page);
    let named: BTreeSet<_> = claims.iter().flat_map(|(_, tests)| tests).collect();
    // Without the head of the page, which names this test.
    let list = page.split_once("## Claims").unwrap().1;
    let in_code: BTreeSet<String> = list
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| is_test_name(code))
        .map(str::to_owned)
        .collect();
    let unread: Vec<_> = in_code.iter().filter(|name| !named.contains(name)).collect();
    assert!(unread.is_empty(), "named behind no claim: {unread:#?}");
    assert!(named.len() > 100, "{} tests are named", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

/// Words that do not identify the subject of a claim.
const STOP_WORDS: &str = "\
    about after again all and another any are before being beside can cannot does each else end ends \
    every for from had has have her his how into its itself let may more most new nobody nor not nothing \
    now off once one only other others out own same see such than that the their them then they this \
    those too two until was way what when where whether which while who with without yet you";

/// The first four letters of the content words of a sentence, so that `refused` and `refuses` are equal.
fn subject(text: &str) -> BTreeSet<String> {
    let is_stop_word = |word: &str| STOP_WORDS.split_whitespace().any(|stop| stop == word);
    text.to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() >= 3 && !is_stop_word(word))
        .map(|word| word[..word.len().min(4)].to_owned())
        .collect()
}

#[test]
fn every_claim_is_about_what_its_tests_are_about() {
    let page = std::fs::read_to_string(workspace().join("docs/SECURITY.md")).unwrap();
    let mut strange = Vec::new();
    for (sentence, tests) in claims_on(&page) {
        for test in tests {
            if subject(&sentence).is_disjoint(&subject(&test)) {
                strange.push(format!("{sentence:?} and {test}"));
            }
        }
    }
    assert!(
        strange.is_empty(),
        "these share no content word; check whether the test proves the sentence:\n{}",
        strange.join("\n")
    );
}

#[test]
fn a_helper_a_comment_and_a_string_are_no_tests() {
    let source = r##"
        // #[test] fn in_a_comment_is_none() {}
        /* #[test] fn in_another_comment_neither() {} */
        const TEXT: &str = "#[test] fn in_a_string_is_none() {}";
        const RAW: &str = r#"#[test] fn in_a_raw_string_neither() {}"#;
        fn a_helper_is_no_test() {}
        #[derive(test)] struct X { #[test] a: u8 }
        fn behind_a_marked_field_is_none() {}
        #[cfg(test)] fn a_helper_of_tests_is_none() {}
        macro_rules! with_each_spawn_method { ($($name:ident,)+) => { mod of_a_definition_is_none {} } }
        with_each_spawn_method! { a_listed_function_is_one, }
        async fn a_listed_function_is_one(method: SpawnMethod) {}
        async fn a_function_that_is_not_listed_is_none(method: SpawnMethod) {}
        mod tests {
            #[test] #[ignore] fn a_plain_test_is_one() {}
            #[tokio::test(flavor = "current_thread")] async fn a_test_of_tokio_is_one() {}
            proptest! { #[test] fn a_property_is_one_too(x in 0..1) {} }
        }
    "##;
    let mut tests = Tests::new();
    collect(source.parse().unwrap(), &mut tests);
    let names: Vec<_> = tests.iter().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "a_listed_function_is_one",
            "a_plain_test_is_one",
            "a_property_is_one_too",
            "a_test_of_tokio_is_one"
        ]
    );
}

#[test]
fn a_claim_is_the_sentence_before_the_names_of_its_tests() {
    let page = "\
Prose with `a_name_of_no_claim`.

- One thing
  holds: `the_first_test_of_it`, `the_second_test_of_it`. Another (`a_test_of_the_other`). With `code` in it: `a_test_of_the_third`.
- Of two kinds (`a_test_of_one_kind`) or the other (`a_test_of_the_second_kind`).
- No claim.
";
    let claims = claims_on(page);
    let claims: Vec<(&str, Vec<&str>)> = claims
        .iter()
        .map(|(sentence, tests)| (&**sentence, tests.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(
        claims,
        [
            (
                "One thing holds",
                vec!["the_first_test_of_it", "the_second_test_of_it"]
            ),
            ("Another", vec!["a_test_of_the_other"]),
            ("With code in it", vec!["a_test_of_the_third"]),
            ("Of two kinds", vec!["a_test_of_one_kind"]),
            ("or the other", vec!["a_test_of_the_second_kind"]),
        ]
    );
}
