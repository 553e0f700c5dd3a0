//! The condition of a query on whose fault a command's end is.
//!
//! The fault follows from other columns by [`Outcome::fault`], so no column holds it, and records of older schemas have it
//! as far as they tell. Both lists below come from the type: a value that is added to it is part of the condition.

use baton_trace::call_end::CallEnd;
use baton_trace::command::CommandExit;
use baton_trace::outcome::{Fault, Loss, Outcome, OutcomeKind, StartFailure};

use super::read::names;

/// SQL over the columns of `processes p`: the record is the fault of one of `faults`.
pub(super) fn condition(faults: &[Fault]) -> String {
    let is_asked = |outcome: Outcome| outcome.fault().is_some_and(|fault| faults.contains(&fault));
    let mut any = Vec::new();
    for kind in OutcomeKind::ALL {
        let name = kind.as_str();
        let of_kind = |outcome| is_asked(outcome).then(|| format!("p.outcome = '{name}'"));
        any.extend(match kind {
            OutcomeKind::Exited => {
                of_kind(Outcome::Exited { code: 1 }).map(|exited| format!("{exited} and p.exit_code <> 0"))
            }
            OutcomeKind::Signaled => of_kind(Outcome::Signaled {
                signal: 9,
                core_dumped: false,
            }),
            OutcomeKind::TimedOut => of_kind(Outcome::TimedOut { exit: None }),
            OutcomeKind::OutOfMemory => of_kind(Outcome::OutOfMemory { exit: None }),
            OutcomeKind::Killed => {
                let by = |end: &CallEnd| {
                    is_asked(Outcome::Killed {
                        by: Some(*end),
                        exit: Some(CommandExit::Signal(9)),
                    })
                };
                one_of(
                    name,
                    "call_end",
                    CallEnd::ALL.into_iter().filter(by).map(CallEnd::name),
                )
            }
            OutcomeKind::FailedToStart => {
                let why = |failure: &StartFailure| is_asked(Outcome::FailedToStart(*failure));
                let all = StartFailure::ALL.into_iter().filter(why);
                one_of(name, "start_failure", all.map(StartFailure::as_str))
            }
            OutcomeKind::Lost => of_kind(Outcome::Lost(Loss::Server)),
            OutcomeKind::Unknown => None,
        });
    }
    match any.is_empty() {
        true => "false".into(),
        false => any.join(" or "),
    }
}

/// The outcome with one of these values in a column; `None` without values.
fn one_of(outcome: &str, column: &str, values: impl Iterator<Item = &'static str>) -> Option<String> {
    let values = names(values);
    (!values.is_empty()).then(|| format!("p.outcome = '{outcome}' and p.{column} in ({values})"))
}
