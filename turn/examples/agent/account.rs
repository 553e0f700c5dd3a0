//! What the example prints: who said what, and the times that were measured.

use std::time::Duration;

use baton_core_client::warm::WarmResult;
use baton_turn::prefix::CacheHits;
use baton_turn::{Step, TurnTimings};

use crate::model::Answer;

pub(crate) fn question(turn: u64, question: &str) {
    println!("turn {turn}: {question}");
}

/// A step whose stream has ended.
pub(crate) fn step(step: &Step, answer: &Answer) {
    let timings = step.timings();
    let tools: Vec<_> = answer.tools.iter().map(|tool| tool.name.as_str()).collect();
    let did = match (answer.is_empty(), tools.is_empty()) {
        (true, _) => "no content; asks again".to_owned(),
        (false, false) => format!("calls {}", tools.join(" and ")),
        (false, true) => "answers".to_owned(),
    };
    let (ttft, decode) = (ms(timings.ttft), ms(timings.decode));
    println!("  step {}  ttft {ttft:>8}  decode {decode:>8}  {did}", step.id());
}

pub(crate) fn answer(text: &str, timings: &TurnTimings, hits: &CacheHits) {
    println!("  {text}");
    println!(
        "  {} steps  ttft {}  decode {}  first content for the user after {}  input from the cache {}\n",
        timings.steps,
        ms(timings.ttft),
        ms(timings.decode),
        ms(timings.user_visible_latency),
        hits.within_turn(),
    );
}

pub(crate) fn warm(result: &WarmResult) {
    match result {
        WarmResult::Warmed { hit } => println!("warm: the session answers, {} % was still warm\n", hit.get()),
        WarmResult::Failed { error } => println!("warm: {error}\n"),
    }
}

fn ms(duration: Option<Duration>) -> String {
    match duration {
        Some(duration) => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        None => "none".to_owned(),
    }
}
