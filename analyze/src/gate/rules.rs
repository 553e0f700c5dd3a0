//! The rules of a gate, and how they are read.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::condition::{Condition, Interval, condition};
use super::document::{Document, Place, RulesError, Table, did_you_mean, text, texts};
use crate::limits::RULES_MAX;
use crate::stages;

/// The outcome that every gate has: the data does not allow a decision.
pub const NOT_ENOUGH_DATA: &str = "not_enough_data";

/// The outcome of a correctness check that failed. Rules that demand a check must name it.
pub const CHECK_FAILED: &str = "check_failed";

/// The outcome of a difference whose controls moved. Rules with controls must name it.
pub const UNPROVEN: &str = "unproven";

/// The rules of a gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Every outcome, with the exit code of `baton gate`.
    pub(super) outcomes: BTreeMap<String, i32>,
    pub(super) population: Population,
    pub(super) sets: Option<Sets>,
    pub(super) minimum: Minimum,
    pub(super) rules: Vec<Rule>,
    pub(super) otherwise: Conclusion,
}

/// Which runs count.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Population {
    /// The first and the last turn.
    pub(super) turns: Option<(u64, u64)>,
    pub(super) succeeded: Option<bool>,
    /// In nanoseconds before now.
    pub(super) window_ns: Option<u64>,
    /// Runs count although a part of the input was not read.
    pub(super) half_read: bool,
    /// The values that an attribute may have.
    pub(super) attributes: BTreeMap<String, Vec<String>>,
}

/// Sets of runs that are judged by themselves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sets {
    /// The attribute that names the set of a run.
    pub(super) attribute: String,
    /// The set that decides if two disagree.
    pub(super) decides: Option<String>,
}

/// The least data of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Minimum {
    pub(super) runs: usize,
    /// Runs that have both durations of a share, or the duration of a stage.
    pub(super) pairs: usize,
    pub(super) blocks: usize,
}

/// One rule: if it holds, its outcome is the gate's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    /// Its line in the file.
    pub(super) line: usize,
    pub(super) conclusion: Conclusion,
    /// All conditions must hold; else one is enough.
    pub(super) is_all: bool,
    pub(super) conditions: Vec<Condition>,
    /// Correctness checks that must have run beside it.
    pub(super) checks: Vec<String>,
}

/// An outcome, and the sentence that is recorded with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conclusion {
    pub(super) outcome: String,
    pub(super) text: Option<String>,
}

impl Rules {
    /// Reads rules. `file` names them in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, RulesError> {
        let document = Document::new(file, text);
        if text.len() > RULES_MAX {
            let message = format!("the rules have {} bytes, and may have {RULES_MAX}", text.len());
            return Err(document.error(&(0..0), message));
        }
        let root = document.parse()?;
        let root = Table::new(document, "the file", root.get_ref(), 0..0);
        read(document, root)
    }

    /// The attributes of runs that the rules look at.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let of_sets = self.sets.iter().map(|sets| sets.attribute.as_str());
        of_sets.chain(self.population.attributes.keys().map(String::as_str))
    }

    /// The attribute that names the set of a run.
    pub fn set_attribute(&self) -> Option<&str> {
        self.sets.as_ref().map(|sets| sets.attribute.as_str())
    }

    /// The exit code of an outcome.
    pub(super) fn exit_code(&self, outcome: &str) -> i32 {
        // Every outcome was looked up when the rules were read.
        self.outcomes.get(outcome).copied().unwrap_or(255)
    }
}

fn read<'a>(document: Document<'a>, mut root: Table<'a>) -> Result<Rules, RulesError> {
    let outcomes = outcomes(document, root.table("outcomes")?, &root)?;
    let own = root.texts("own_stages")?;
    let own: Vec<&str> = own.into_iter().map(|(name, _)| name).collect();
    let intervals = intervals(document, root.table("intervals")?, &own)?;
    let reader = Reader {
        document,
        outcomes: &outcomes,
        own: &own,
        intervals: &intervals,
    };
    let population = root
        .table("population")?
        .map(|table| population(document, table))
        .transpose()?;
    let sets = root.table("sets")?.map(sets).transpose()?;
    let minimum = minimum(root.table("minimum")?)?;
    let no_rule = root.error("there is no [[rule]]");
    let rules = root.tables("rule")?.ok_or(no_rule)?;
    let rules = rules
        .into_iter()
        .map(|table| reader.rule(table))
        .collect::<Result<Vec<_>, _>>()?;
    let missing = root.error("there is no [otherwise], for runs that no rule holds for");
    let mut otherwise = root.table("otherwise")?.ok_or(missing)?;
    let conclusion = reader.conclusion(&mut otherwise)?;
    otherwise.finish()?;
    root.finish()?;
    let rules = Rules {
        outcomes,
        population: population.unwrap_or_default(),
        sets,
        minimum,
        rules,
        otherwise: conclusion,
    };
    check_sets(document, &rules)?;
    Ok(rules)
}

/// What names in rules refer to.
pub(super) struct Reader<'a> {
    pub(super) document: Document<'a>,
    outcomes: &'a BTreeMap<String, i32>,
    own: &'a [&'a str],
    intervals: &'a BTreeMap<String, Interval>,
}

impl Reader<'_> {
    /// The interval or stage with this name.
    pub(super) fn interval(&self, name: &str, place: &Place) -> Result<Interval, RulesError> {
        if let Some(interval) = self.intervals.get(name) {
            return Ok(interval.clone());
        }
        stage(
            self.document,
            name,
            place,
            self.own,
            self.intervals.keys().map(String::as_str),
        )
    }

    pub(super) fn stage(&self, name: &str, place: &Place) -> Result<String, RulesError> {
        let interval = stage(self.document, name, place, self.own, std::iter::empty())?;
        Ok(interval.name)
    }

    /// Refuses an outcome without an exit code.
    pub(super) fn outcome(&self, name: &str, place: &Place) -> Result<(), RulesError> {
        if self.outcomes.contains_key(name) {
            return Ok(());
        }
        let nearest = did_you_mean(name, self.outcomes.keys().map(String::as_str));
        let message = format!("the outcome `{name}` has no exit code in [outcomes]{nearest}");
        Err(self.document.error(place, message))
    }

    fn conclusion(&self, table: &mut Table<'_>) -> Result<Conclusion, RulesError> {
        let (outcome, place) = table.required("outcome")?;
        self.outcome(outcome, &place)?;
        let text = table.text("conclusion")?;
        Ok(Conclusion {
            outcome: outcome.to_owned(),
            text: text.map(|(text, _)| text.to_owned()),
        })
    }

    fn rule(&self, mut table: Table<'_>) -> Result<Rule, RulesError> {
        let line = table.line();
        let conclusion = self.conclusion(&mut table)?;
        let (any, all) = (table.tables("any")?, table.tables("all")?);
        let is_all = all.is_some();
        let conditions = match (any, all) {
            (Some(conditions), None) | (None, Some(conditions)) if !conditions.is_empty() => conditions,
            _ => return Err(table.error("a rule needs either `any` or `all`, with at least one condition")),
        };
        let conditions = conditions.into_iter().map(|table| condition(self, table));
        let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
        let checks = table.texts("checks")?;
        if let Some((_, place)) = checks.first() {
            self.outcome(CHECK_FAILED, place)?;
        }
        table.finish()?;
        Ok(Rule {
            line,
            conclusion,
            is_all,
            conditions,
            checks: checks.into_iter().map(|(name, _)| name.to_owned()).collect(),
        })
    }
}

fn stage<'a>(
    document: Document<'_>,
    name: &str,
    place: &Place,
    own: &[&'a str],
    intervals: impl Iterator<Item = &'a str> + Clone,
) -> Result<Interval, RulesError> {
    let names: Vec<&str> = stages::known().into_iter().chain(own.iter().copied()).collect();
    if names.contains(&name) {
        return Ok(Interval {
            name: name.to_owned(),
            stages: vec![name.to_owned()],
        });
    }
    let nearest = did_you_mean(name, names.into_iter().chain(intervals));
    let message = format!(
        "unknown stage `{name}`{nearest}; docs/STAGES.md lists the stages, and `own_stages` at the top of the file \
         declares those of your services"
    );
    Err(document.error(place, message))
}

fn outcomes(
    document: Document<'_>,
    table: Option<Table<'_>>,
    root: &Table<'_>,
) -> Result<BTreeMap<String, i32>, RulesError> {
    let missing = || {
        root.error(format!(
            "there is no [outcomes] with every outcome's exit code, and `{NOT_ENOUGH_DATA}`"
        ))
    };
    let table = table.ok_or_else(missing)?;
    let nothing = table.error(format!(
        "[outcomes] has no `{NOT_ENOUGH_DATA}`: every gate can lack data"
    ));
    let mut outcomes = BTreeMap::new();
    for (name, value) in table.entries() {
        let code = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        // 2 and 255 are what `baton` itself exits with, and a shell reports signals from 128 on.
        let code = code.filter(|code| (0..=125).contains(code) && *code != 2);
        let message = "an exit code must be from 0 to 125 and not 2, which means invalid arguments";
        outcomes.insert(
            name.to_owned(),
            code.ok_or_else(|| document.error(&value.span(), message))?,
        );
    }
    match outcomes.contains_key(NOT_ENOUGH_DATA) {
        true => Ok(outcomes),
        false => Err(nothing),
    }
}

fn intervals(
    document: Document<'_>,
    table: Option<Table<'_>>,
    own: &[&str],
) -> Result<BTreeMap<String, Interval>, RulesError> {
    let mut intervals = BTreeMap::new();
    for (name, value) in table.into_iter().flat_map(Table::entries) {
        let stages = texts(document, value, name)?;
        let stages = stages.into_iter().map(|(name, place)| {
            stage(document, name, &place, own, std::iter::empty()).map(|interval| interval.name)
        });
        let stages: Vec<String> = stages.collect::<Result<_, _>>()?;
        if stages.is_empty() {
            return Err(document.error(&value.span(), format!("the interval `{name}` has no stages")));
        }
        let name = name.to_owned();
        intervals.insert(name.clone(), Interval { name, stages });
    }
    Ok(intervals)
}

fn population(document: Document<'_>, mut table: Table<'_>) -> Result<Population, RulesError> {
    let turns = table.text("turns")?.map(|(turns, place)| {
        let message = "`turns` is a range like \"2..\" or \"2..9\", or one number like \"2\"";
        range(turns).ok_or_else(|| document.error(&place, message))
    });
    let window = table.text("window")?.map(|(window, place)| {
        let parsed = humantime::parse_duration(window);
        let window = parsed
            .ok()
            .and_then(|window| u64::try_from(window.as_nanos()).ok());
        window.ok_or_else(|| document.error(&place, "`window` is an age like \"7d\", \"12h\" or \"90s\""))
    });
    let mut attributes = BTreeMap::new();
    for (name, value) in table.table("attributes")?.into_iter().flat_map(Table::entries) {
        attributes.insert(name.to_owned(), one_or_more(document, value, name)?);
    }
    let population = Population {
        turns: turns.transpose()?,
        succeeded: table.boolean("succeeded")?,
        half_read: table.boolean("half_read")?.unwrap_or(false),
        window_ns: window.transpose()?,
        attributes,
    };
    table.finish()?;
    Ok(population)
}

fn one_or_more(
    document: Document<'_>,
    value: &Spanned<DeValue<'_>>,
    key: &str,
) -> Result<Vec<String>, RulesError> {
    match value.get_ref() {
        DeValue::Array(_) => Ok(texts(document, value, key)?
            .into_iter()
            .map(|(text, _)| text.to_owned())
            .collect()),
        _ => Ok(vec![text(document, value, key)?.0.to_owned()]),
    }
}

/// `2..`, `2..9` (9 included) or `2`.
fn range(text: &str) -> Option<(u64, u64)> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (first, last) = match text.split_once("..") {
        None => (number(text)?, number(text)?),
        Some((first, last)) if last.trim().is_empty() => (number(first)?, u64::MAX),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    (first <= last).then_some((first, last))
}

fn sets(mut table: Table<'_>) -> Result<Sets, RulesError> {
    let (attribute, _) = table.required("attribute")?;
    let decides = table.text("decides")?;
    table.finish()?;
    Ok(Sets {
        attribute: attribute.to_owned(),
        decides: decides.map(|(name, _)| name.to_owned()),
    })
}

fn minimum(table: Option<Table<'_>>) -> Result<Minimum, RulesError> {
    let mut minimum = Minimum {
        runs: 1,
        pairs: 1,
        blocks: 1,
    };
    if let Some(mut table) = table {
        let minima = [
            ("runs", &mut minimum.runs),
            ("pairs", &mut minimum.pairs),
            ("blocks", &mut minimum.blocks),
        ];
        for (key, least) in minima {
            if let Some(number) = table.number(key)? {
                *least = number.max(1);
            }
        }
        table.finish()?;
    }
    Ok(minimum)
}

/// Differences need sets, and a rule that also looks at one set needs to know which.
fn check_sets(document: Document<'_>, rules: &Rules) -> Result<(), RulesError> {
    let conditions = || rules.rules.iter().flat_map(|rule| &rule.conditions);
    let Some(difference) = conditions().find(|condition| condition.is_difference()) else {
        return Ok(());
    };
    let error = |message: &str| RulesError {
        line: difference.line,
        ..document.error(&(0..0), message)
    };
    let Some(sets) = &rules.sets else {
        return Err(error(
            "a difference is between two sets, and there is no [sets] with their `attribute`",
        ));
    };
    if sets.decides.is_none() && !conditions().all(Condition::is_difference) {
        return Err(error(
            "there are conditions on a difference and conditions on one set: say in [sets] which set `decides`",
        ));
    }
    Ok(())
}
