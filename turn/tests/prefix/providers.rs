//! Predictions under the rules of two providers, as each published it in 2026 (`CacheRule` has the sources).

use std::time::Duration;

use baton_turn::prefix::{
    CacheHits, CacheMode, CacheRule, Declaration, PrefixGuard, PrefixReason, Section, SimulatedCache,
    Stability,
};
use tokio::time::advance;

const AUTOMATIC: CacheRule = CacheRule {
    minimum_tokens: 1_024,
    block_tokens: 128,
    ttl: Duration::from_secs(300),
    mode: CacheMode::Automatic,
};
const BREAKPOINT: CacheRule = CacheRule {
    block_tokens: 1,
    mode: CacheMode::Breakpoint,
    ..AUTOMATIC
};

fn declaration() -> Declaration {
    let stable = ["tools", "system", "message"].map(|name| (name, Stability::Stable));
    Declaration::new(stable.into_iter().chain([("question", Stability::Volatile)])).unwrap()
}

/// A request of tools, system prompt, messages and a question, with their lengths in tokens.
fn request(system: &str, messages: usize, question: &str) -> Vec<Section<'static>> {
    let mut sections = vec![
        Section::text("tools", "tools").with_tokens(900),
        Section::text("system", system.to_owned()).with_tokens(600),
    ];
    sections
        .extend((0..messages).map(|at| Section::text("message", format!("message {at}")).with_tokens(300)));
    sections.push(Section::text("question", question.to_owned()).with_tokens(100));
    sections
}

/// Cache reads and writes of these requests.
async fn predicted(rule: CacheRule, requests: &[(Vec<Section<'static>>, Duration)]) -> Vec<(u64, u64)> {
    let mut cache = SimulatedCache::new(rule);
    let mut figures = Vec::new();
    for (sections, pause) in requests {
        advance(*pause).await;
        let usage = cache.request(&declaration(), sections).unwrap();
        assert_eq!(
            usage.input_tokens,
            Some(sections.iter().map(Section::tokens).sum())
        );
        figures.push((
            usage.cache_read_input_tokens.unwrap(),
            usage.cache_write_input_tokens.unwrap(),
        ));
    }
    figures
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_prefix_is_served_in_whole_blocks_or_as_a_whole() {
    let requests = [
        (request("one", 0, "q1"), SECOND),
        (request("one", 0, "q2"), SECOND),
        (request("one", 1, "q3"), SECOND),
    ];
    // 1,500 tokens in common are 11 blocks of 128; the same, and the 300 of a new message.
    assert_eq!(
        predicted(AUTOMATIC, &requests).await,
        [(0, 1_536), (1_408, 128), (1_408, 384)]
    );
    assert_eq!(
        predicted(BREAKPOINT, &requests).await,
        [(0, 1_500), (1_500, 0), (1_500, 300)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_costs_what_comes_after_it() {
    let requests = [(request("one", 3, "q"), SECOND), (request("two", 3, "q"), SECOND)];
    // The 900 tokens of the tools are below the minimum.
    assert_eq!(predicted(AUTOMATIC, &requests).await[1].0, 0);
    assert_eq!(predicted(BREAKPOINT, &requests).await[1].0, 0);
    // Another last message: an automatic cache serves the start, a breakpoint behind it does not.
    let mut other = request("one", 3, "q");
    other[4] = Section::text("message", "another").with_tokens(300);
    let requests = [(request("one", 3, "q"), SECOND), (other, SECOND)];
    assert_eq!(predicted(AUTOMATIC, &requests).await[1].0, 2_048);
    assert_eq!(predicted(BREAKPOINT, &requests).await[1].0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_short_prefix_is_not_cached() {
    let short = vec![Section::text("system", "short").with_tokens(1_023)];
    let requests = [(short.clone(), SECOND), (short, SECOND)];
    for rule in [AUTOMATIC, BREAKPOINT] {
        assert_eq!(predicted(rule, &requests).await, [(0, 0), (0, 0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn each_use_renews_the_lifetime_and_at_the_ttl_it_is_over() {
    let just_before = AUTOMATIC.ttl - Duration::from_millis(1);
    let again = |pause| (request("one", 0, "q"), pause);
    let requests = [
        again(SECOND),
        again(just_before),
        again(just_before),
        again(AUTOMATIC.ttl),
    ];
    for rule in [AUTOMATIC, BREAKPOINT] {
        let reads: Vec<_> = predicted(rule, &requests)
            .await
            .iter()
            .map(|(read, _)| *read > 0)
            .collect();
        assert_eq!(reads, [false, true, true, false]);
    }
}

/// The guard and the provider agree: a miss of the provider has its reason in the guard.
#[tokio::test(start_paused = true)]
async fn the_guard_explains_each_miss_of_a_simulated_provider() {
    let mut guard = PrefixGuard::new(declaration()).with_ttl(BREAKPOINT.ttl);
    let mut cache = SimulatedCache::new(BREAKPOINT);
    let mut hits = CacheHits::default();
    let steps = [
        (SECOND, request("one", 0, "q1"), PrefixReason::FirstRequest, false),
        (SECOND, request("one", 0, "q2"), PrefixReason::Unchanged, true),
        (SECOND, request("one", 2, "q3"), PrefixReason::Extended, true),
        (
            SECOND,
            request("Tuesday", 2, "q4"),
            PrefixReason::ContentChanged,
            false,
        ),
        (
            BREAKPOINT.ttl,
            request("Tuesday", 2, "q4"),
            PrefixReason::TtlExpired,
            false,
        ),
        (SECOND, request("Tuesday", 3, "q4"), PrefixReason::Extended, true),
    ];
    for (at, (pause, sections, reason, is_hit)) in steps.into_iter().enumerate() {
        advance(pause).await;
        let check = guard.check(&sections).unwrap();
        let usage = cache.request(&declaration(), &sections).unwrap();
        assert_eq!(check.reason, reason, "request {at}");
        assert_eq!(usage.cache_read_input_tokens > Some(0), is_hit, "request {at}");
        hits.record(&usage).unwrap();
    }
    // 1,500 + 1,500 + 2,100 of 1,600 + 1,600 + 2,200 + 2,200 + 2,200 + 2,500 tokens.
    assert_eq!(hits.across_turns().ratio(), Some(5_100.0 / 12_300.0));
}

#[tokio::test(start_paused = true)]
async fn a_cache_of_endless_requests_is_bounded() {
    let mut cache = SimulatedCache::new(AUTOMATIC);
    let one = |number: u64| vec![Section::text("system", number.to_string()).with_tokens(2_000)];
    for number in 0..10_000 {
        cache.request(&declaration(), &one(number)).unwrap();
    }
    let read = |usage: baton_turn::Usage| usage.cache_read_input_tokens;
    assert_eq!(
        read(cache.request(&declaration(), &one(9_999)).unwrap()),
        Some(1_920)
    );
    assert_eq!(read(cache.request(&declaration(), &one(0)).unwrap()), Some(0));
}
