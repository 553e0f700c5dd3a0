//! Reads tables of TOML and reports what is wrong with its line. A key that nothing reads is an error, so that a
//! misspelt threshold cannot pass unnoticed.

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::stages;

/// The rules cannot be used. Their author is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}: {message}")]
pub struct RulesError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A place in the document, in bytes.
pub(super) type Place = Range<usize>;

/// The text of the rules, to tell lines.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    file: &'a str,
    text: &'a str,
}

/// A table of which some keys were read.
pub(super) struct Table<'a> {
    document: Document<'a>,
    /// As an error names it.
    name: String,
    place: Place,
    entries: BTreeMap<&'a str, (Place, &'a Spanned<DeValue<'a>>)>,
    known: Vec<&'static str>,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text }
    }

    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, RulesError> {
        DeTable::parse(self.text).map_err(|error| {
            let message = format!("no valid TOML: {}", error.message());
            self.error(&error.span().unwrap_or(0..0), message)
        })
    }

    pub(super) fn error(&self, place: &Place, message: impl Into<String>) -> RulesError {
        RulesError {
            file: self.file.to_owned(),
            line: self.line(place),
            message: message.into(),
        }
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, place: &Place) -> usize {
        let before = &self.text.as_bytes()[..place.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

impl<'a> Table<'a> {
    pub(super) fn new(document: Document<'a>, name: &str, table: &'a DeTable<'a>, place: Place) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), (key.span(), value)));
        Self {
            document,
            name: name.to_owned(),
            place,
            entries: entries.collect(),
            known: Vec::new(),
        }
    }

    /// An error about the whole table.
    pub(super) fn error(&self, message: impl Into<String>) -> RulesError {
        self.document.error(&self.place, message)
    }

    pub(super) fn line(&self) -> usize {
        self.document.line(&self.place)
    }

    /// Whether the table has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The value of a key.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.entries.get(key).map(|(_, value)| *value)
    }

    /// A text, and where it is.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<(&'a str, Place)>, RulesError> {
        let document = self.document;
        let value = self.value(key);
        value.map(|value| text(document, value, key)).transpose()
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, key: &'static str) -> Result<(&'a str, Place), RulesError> {
        let missing = self.error(format!("{} has no `{key}`", self.name));
        self.text(key)?.ok_or(missing)
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Vec<(&'a str, Place)>, RulesError> {
        let document = self.document;
        self.value(key)
            .map_or(Ok(Vec::new()), |value| texts(document, value, key))
    }

    /// A natural number.
    pub(super) fn number(&mut self, key: &'static str) -> Result<Option<usize>, RulesError> {
        let document = self.document;
        let number = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        let error = |place: Place| document.error(&place, format!("`{key}` must be a natural number"));
        self.value(key)
            .map(|value| number(value).ok_or_else(|| error(value.span())))
            .transpose()
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, RulesError> {
        match self.value(key).map(|value| (value.get_ref(), value.span())) {
            None => Ok(None),
            Some((DeValue::Boolean(value), _)) => Ok(Some(*value)),
            Some((_, place)) => Err(self
                .document
                .error(&place, format!("`{key}` must be true or false"))),
        }
    }

    /// A table under this one.
    pub(super) fn table(&mut self, key: &'static str) -> Result<Option<Table<'a>>, RulesError> {
        let document = self.document;
        self.value(key)
            .map(|value| table(document, value, key))
            .transpose()
    }

    /// A list of tables under this one.
    pub(super) fn tables(&mut self, key: &'static str) -> Result<Option<Vec<Table<'a>>>, RulesError> {
        let document = self.document;
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Array(values) => {
                let tables = values.iter().map(|value| table(document, value, key));
                tables.collect::<Result<Vec<_>, _>>().map(Some)
            }
            _ => Err(document.error(&value.span(), format!("`{key}` must be a list of tables"))),
        }
    }

    /// All entries, of a table whose keys are names chosen by the author.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a str, &'a Spanned<DeValue<'a>>)> {
        self.entries.into_iter().map(|(key, (_, value))| (key, value))
    }

    /// Refuses keys that nothing has read.
    pub(super) fn finish(self) -> Result<(), RulesError> {
        for (key, (place, _)) in &self.entries {
            if !self.known.contains(key) {
                let message = format!(
                    "{} knows no `{key}`{}",
                    self.name,
                    did_you_mean(key, self.known.iter().copied())
                );
                return Err(self.document.error(place, message));
            }
        }
        Ok(())
    }
}

/// ` (did you mean …?)`, if one of the names is near.
pub(super) fn did_you_mean<'a>(name: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    match stages::nearest(name, names.clone()) {
        Some(nearest) => format!(" (did you mean `{nearest}`?)"),
        None => {
            let names: Vec<String> = names.take(20).map(|name| format!("`{name}`")).collect();
            match names.is_empty() {
                true => String::new(),
                false => format!(" (known: {})", names.join(", ")),
            }
        }
    }
}

pub(super) fn text<'a>(
    document: Document<'_>,
    value: &'a Spanned<DeValue<'a>>,
    key: &str,
) -> Result<(&'a str, Place), RulesError> {
    match value.get_ref() {
        DeValue::String(text) => Ok((text.as_ref(), value.span())),
        _ => Err(document.error(&value.span(), format!("`{key}` must be a text in quotes"))),
    }
}

pub(super) fn texts<'a>(
    document: Document<'_>,
    value: &'a Spanned<DeValue<'a>>,
    key: &str,
) -> Result<Vec<(&'a str, Place)>, RulesError> {
    match value.get_ref() {
        DeValue::Array(values) => values.iter().map(|value| text(document, value, key)).collect(),
        _ => Err(document.error(&value.span(), format!("`{key}` must be a list of texts"))),
    }
}

fn table<'a>(
    document: Document<'a>,
    value: &'a Spanned<DeValue<'a>>,
    key: &str,
) -> Result<Table<'a>, RulesError> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(Table::new(document, &format!("`{key}`"), table, value.span())),
        _ => Err(document.error(&value.span(), format!("`{key}` must be a table"))),
    }
}
