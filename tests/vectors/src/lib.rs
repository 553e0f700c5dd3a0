//! The test vectors in `docs/vectors`: one JSON file per subject, checked by the crate that implements the subject.
//!
//! A test creates its [`Case`]s with the real encoder and passes them to [`check`], which
//!
//! 1. reads the file and passes every [`Vector`] to the test's decoder, which compares the bytes with the fields;
//! 2. compares the file with the encoder's cases. With `BATON_BLESS=1` it first writes the file.

mod json;

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::Value;

pub use json::{Json, hex, list, object};

/// A case to be written.
#[derive(Debug, Clone)]
pub struct Case(Vec<(&'static str, Json)>);

impl Case {
    /// A case with a kind, which selects the decoder, and a name.
    pub fn new(kind: &'static str, name: &str) -> Self {
        Self(vec![("name", name.into()), ("kind", kind.into())])
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<Json>) -> Self {
        self.0.push((member, value.into()));
        self
    }

    /// Adds bytes, as hexadecimal digits.
    #[must_use]
    pub fn bytes(self, member: &'static str, bytes: impl AsRef<[u8]>) -> Self {
        self.with(member, hex(bytes))
    }
}

/// A case of a file, or an object in a case. A member that is absent or of another type fails the test.
#[derive(Debug, Clone, Copy)]
pub struct Vector<'a>(&'a Value);

impl<'a> Vector<'a> {
    /// The kind, which selects the checks.
    pub fn kind(&self) -> &'a str {
        self.text("kind")
    }

    /// Fails the test, because the decoder does not know the kind.
    pub fn unknown_kind(&self) -> ! {
        panic!("a case of unknown kind `{}`: {}", self.kind(), self.0)
    }

    /// Whether the member exists.
    pub fn has(&self, member: &str) -> bool {
        self.0.get(member).is_some()
    }

    /// A string.
    #[track_caller]
    pub fn text(&self, member: &str) -> &'a str {
        self.member(member, Value::as_str)
    }

    /// A truth value.
    #[track_caller]
    pub fn flag(&self, member: &str) -> bool {
        self.member(member, Value::as_bool)
    }

    /// An unsigned number.
    #[track_caller]
    pub fn number(&self, member: &str) -> u64 {
        self.member(member, Value::as_u64)
    }

    /// A signed number.
    #[track_caller]
    pub fn signed(&self, member: &str) -> i64 {
        self.member(member, Value::as_i64)
    }

    /// Bytes.
    #[track_caller]
    pub fn bytes(&self, member: &str) -> Vec<u8> {
        let text = self.text(member);
        let decoded = HEXLOWER.decode(text.as_bytes());
        decoded.unwrap_or_else(|error| panic!("`{member}` is not hexadecimal ({error}): {text}"))
    }

    /// Exactly `N` bytes.
    #[track_caller]
    pub fn array<const N: usize>(&self, member: &str) -> [u8; N] {
        let bytes = self.bytes(member);
        let len = bytes.len();
        bytes
            .try_into()
            .unwrap_or_else(|_| panic!("`{member}` has {len} bytes, expected {N}"))
    }

    /// An object.
    #[track_caller]
    pub fn object(&self, member: &str) -> Vector<'a> {
        self.member(member, |value| value.is_object().then_some(Vector(value)))
    }

    /// A list of objects.
    #[track_caller]
    pub fn list(&self, member: &str) -> Vec<Vector<'a>> {
        self.member(member, Value::as_array).iter().map(Vector).collect()
    }

    /// A list of byte strings.
    #[track_caller]
    pub fn byte_strings(&self, member: &str) -> Vec<Vec<u8>> {
        let values = self.member(member, Value::as_array).iter();
        let decode = |value: &Value| HEXLOWER.decode(value.as_str()?.as_bytes()).ok();
        values
            .map(|value| decode(value).unwrap_or_else(|| panic!("`{member}` holds no bytes: {value}")))
            .collect()
    }

    #[track_caller]
    fn member<T>(&self, member: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> T {
        let value = self.0.get(member).and_then(read);
        value.unwrap_or_else(|| panic!("no `{member}` of the expected type in {}", self.0))
    }
}

/// Checks `docs/vectors/<file>` with decoder and encoder; with `BATON_BLESS=1` writes it first. `decode` panics if a
/// case does not hold, and calls [`Vector::unknown_kind`] for an unknown kind.
#[track_caller]
pub fn check(file: &str, about: &str, cases: &[Case], decode: impl Fn(Vector<'_>)) {
    let path = folder().join(file);
    let encoded = render(about, cases);
    if std::env::var_os("BATON_BLESS").is_some() {
        std::fs::write(&path, &encoded).expect("the vectors can be written");
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    decode_all(&text, decode);
    assert!(
        text == encoded,
        "docs/vectors/{file} is not what the encoder makes; if the wire has changed, set BATON_BLESS=1, run this test again \
         and review the difference. First line that differs: {:?}",
        text.lines().zip(encoded.lines()).find(|(is, made)| is != made)
    );
}

#[track_caller]
fn decode_all(text: &str, decode: impl Fn(Vector<'_>)) {
    let file: Value = serde_json::from_str(text).expect("JSON");
    let cases = Vector(&file).list("cases");
    assert!(!cases.is_empty(), "no cases");
    for case in cases {
        // If a case fails, its name is the last one printed.
        println!("case: {}", case.text("name"));
        decode(case);
    }
}

fn render(about: &str, cases: &[Case]) -> String {
    let cases = cases.iter().map(|case| Json::Object(case.0.clone())).collect();
    let file = Json::Object(vec![("about", about.into()), ("cases", Json::List(cases))]);
    let mut out = String::new();
    file.render(&mut out, 0);
    out.push('\n');
    out
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(vector: Vector<'_>) {
        match vector.kind() {
            "length" => assert_eq!(vector.bytes("bytes").len() as u64, vector.number("length")),
            _ => vector.unknown_kind(),
        }
    }

    fn case(kind: &'static str) -> Case {
        Case::new(kind, "two bytes")
            .bytes("bytes", [0xab, 1])
            .with("length", 2u64)
    }

    #[test]
    fn a_file_is_read_as_it_is_written() {
        let text = render("Lengths.", &[case("length")]);
        assert_eq!(
            text,
            "{\n  \"about\": \"Lengths.\",\n  \"cases\": [\n    {\n      \"name\": \"two bytes\",\n      \"kind\": \"length\",\n      \
             \"bytes\": \"ab01\",\n      \"length\": 2\n    }\n  ]\n}\n"
        );
        decode_all(&text, decode);
    }

    #[test]
    #[should_panic(expected = "unknown kind `other`")]
    fn an_unknown_kind_fails() {
        decode_all(&render("", &[case("other")]), decode);
    }

    #[test]
    #[should_panic(expected = "no cases")]
    fn a_file_without_cases_fails() {
        decode_all(&render("", &[]), decode);
    }
}
