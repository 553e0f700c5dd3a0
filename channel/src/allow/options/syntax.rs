//! Separates the options of an allow-list line, as sshd does: `name="value",name="value"`, then a space. In a value
//! `\"` is a quote, and any other backslash is itself.

use baton_trace::text::hint;

use super::OptionsError;
use crate::limits::{LINE_OPTIONS_MAX, OPTION_VALUE_MAX};

/// An option as it is written, its value without the quotes.
#[derive(Debug)]
pub(in crate::allow) struct WrittenOption<'a> {
    pub(super) name: &'a str,
    pub(super) value: Option<String>,
}

/// Reads the options at the beginning of a line. Returns them, and the rest of the line, which is empty or begins with
/// white space or `#`.
pub(in crate::allow) fn read(line: &str) -> Result<(Vec<WrittenOption<'_>>, &str), OptionsError> {
    let mut options = Vec::new();
    let mut rest = line;
    loop {
        if options.len() == LINE_OPTIONS_MAX {
            return Err(OptionsError::TooMany);
        }
        let (option, after) = option(rest)?;
        let name = option.name;
        options.push(option);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if is_end(after) => return Ok((options, after)),
            None => return Err(OptionsError::NoSeparator(hint(name))),
        }
    }
}

/// Reads one option. Returns it, and what follows.
fn option(text: &str) -> Result<(WrittenOption<'_>, &str), OptionsError> {
    let is_name = |c: char| !matches!(c, ',' | '=' | '"' | '#') && !c.is_whitespace();
    let (name, after) = text.split_at(text.find(|c: char| !is_name(c)).unwrap_or(text.len()));
    if name.is_empty() {
        return Err(OptionsError::NoName);
    }
    if !after.starts_with(['=', '"']) {
        return Ok((WrittenOption { name, value: None }, after));
    }
    let quoted = after.strip_prefix("=\"");
    let quoted = quoted.ok_or_else(|| OptionsError::NoValue(hint(name)))?;
    let (value, after) = unquote(quoted).ok_or_else(|| OptionsError::Unclosed(hint(name)))?;
    if value.len() > OPTION_VALUE_MAX {
        return Err(OptionsError::TooLong(hint(name)));
    }
    let value = Some(value);
    Ok((WrittenOption { name, value }, after))
}

/// Reads a value up to its closing quote; `None` if there is none. Returns it, and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(rest.find(['"', '\\'])?);
        value.push_str(plain);
        if let Some(after) = special.strip_prefix('"') {
            return Some((value, after));
        }
        rest = match special.strip_prefix("\\\"") {
            Some(after) => {
                value.push('"');
                after
            }
            None => {
                value.push('\\');
                special.strip_prefix('\\')?
            }
        };
    }
}

fn is_end(text: &str) -> bool {
    text.is_empty() || text.starts_with(|c: char| c == '#' || c.is_whitespace())
}
