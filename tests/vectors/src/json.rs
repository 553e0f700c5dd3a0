//! A JSON writer that keeps the order of members. It writes one member per line, but short lists and objects on one
//! line.

use data_encoding::HEXLOWER;

/// A value to be written.
#[derive(Debug, Clone)]
pub enum Json {
    /// A string.
    Text(String),
    /// A number.
    Number(i128),
    /// A truth value.
    Flag(bool),
    /// A list.
    List(Vec<Json>),
    /// An object; its members keep their order.
    Object(Vec<(&'static str, Json)>),
}

/// Bytes as lowercase hexadecimal digits.
pub fn hex(bytes: impl AsRef<[u8]>) -> Json {
    Json::Text(HEXLOWER.encode(bytes.as_ref()))
}

/// A list of values.
pub fn list(values: impl IntoIterator<Item = Json>) -> Json {
    Json::List(values.into_iter().collect())
}

/// An object of members.
pub fn object<const N: usize>(members: [(&'static str, Json); N]) -> Json {
    Json::Object(members.into())
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Json {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

macro_rules! from_number {
    ($($number:ty)*) => {$(
        impl From<$number> for Json {
            fn from(number: $number) -> Self {
                Self::Number(number.into())
            }
        }
    )*};
}

from_number!(u8 u16 u32 u64 i32 i64);

/// The maximum width of a line with several members.
const COLUMNS: usize = 110;

impl Json {
    /// Appends the value. `depth` is the indentation of its first line.
    pub(crate) fn render(&self, out: &mut String, depth: usize) {
        let line = self.line();
        // The outermost levels have one member per line.
        if depth >= 3 && depth * 2 + line.len() <= COLUMNS {
            out.push_str(&line);
            return;
        }
        match self {
            Self::List(values) if !values.is_empty() => {
                let values = values.iter().map(|value| (String::new(), value));
                block(out, depth, ['[', ']'], values);
            }
            Self::Object(members) if !members.is_empty() => {
                let members = members
                    .iter()
                    .map(|(name, value)| (format!("\"{name}\": "), value));
                block(out, depth, ['{', '}'], members);
            }
            _ => out.push_str(&line),
        }
    }

    /// The value on one line.
    fn line(&self) -> String {
        match self {
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(Self::line).collect();
                format!("[{}]", values.join(", "))
            }
            Self::Object(members) => {
                let member = |(name, value): &(&str, Self)| format!("\"{name}\": {}", value.line());
                let members: Vec<_> = members.iter().map(member).collect();
                format!("{{{}}}", members.join(", "))
            }
        }
    }
}

/// Appends values between brackets, one per line, each after its prefix.
fn block<'a>(
    out: &mut String,
    depth: usize,
    [open, close]: [char; 2],
    values: impl Iterator<Item = (String, &'a Json)>,
) {
    out.push(open);
    for (at, (prefix, value)) in values.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push('\n');
        out.push_str(&"  ".repeat(depth + 1));
        out.push_str(&prefix);
        value.render(out, depth + 1);
    }
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
    out.push(close);
}
