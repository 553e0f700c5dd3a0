//! What the example prints: who said what, and the times that were measured.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::time::Duration;

use baton_core_client::warm::WarmResult;
use baton_turn::prefix::CacheHits;
use baton_turn::{Step, TurnTimings};

use crate::Result;
use crate::model::Answer;

/// Standard output is a pipe that nobody reads any more, as after `agent | head -1`.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output")]
pub(crate) struct ReaderGone;

/// `println!` panics when standard output is closed.
pub(crate) fn print(text: Arguments<'_>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_fmt(text).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        Err(error) => Err(format!("cannot write to standard output: {error}").into()),
    }
}

pub(crate) fn question(turn: u64, question: &str) -> Result<()> {
    print(format_args!("turn {turn}: {question}\n"))
}

/// A step whose stream has ended.
pub(crate) fn step(step: &Step, answer: &Answer) -> Result<()> {
    let timings = step.timings();
    let tools: Vec<_> = answer.tools.iter().map(|tool| tool.name.as_str()).collect();
    let did = match (answer.is_empty(), tools.is_empty()) {
        (true, _) => "no content; asks again".to_owned(),
        (false, false) => format!("calls {}", tools.join(" and ")),
        (false, true) => "answers".to_owned(),
    };
    let (ttft, decode) = (ms(timings.ttft), ms(timings.decode));
    print(format_args!(
        "  step {}  ttft {ttft:>8}  decode {decode:>8}  {did}\n",
        step.id()
    ))
}

pub(crate) fn answer(text: &str, timings: &TurnTimings, hits: &CacheHits) -> Result<()> {
    print(format_args!(
        "  {text}\n  {} steps  ttft {}  decode {}  first content for the user after {}  input from the cache {}\n\n",
        timings.steps,
        ms(timings.ttft),
        ms(timings.decode),
        ms(timings.user_visible_latency),
        hits.within_turn(),
    ))
}

pub(crate) fn warm(result: &WarmResult) -> Result<()> {
    match result {
        WarmResult::Warmed { hit } => print(format_args!(
            "warm: the session answers, {} % was still warm\n\n",
            hit.get()
        )),
        WarmResult::Failed { error } => print(format_args!("warm: {error}\n\n")),
    }
}

fn ms(duration: Option<Duration>) -> String {
    match duration {
        Some(duration) => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        None => "none".to_owned(),
    }
}
