//! Hit rates from a provider's figures.

use baton_turn::Usage;
use baton_turn::prefix::{CacheHits, HitRate, HitRateUnavailable, UsageError};

#[test]
fn a_rate_is_weighted_by_tokens() {
    let mut hits = CacheHits::default();
    hits.record(&Usage::new(100, 1).cache_read(100)).unwrap();
    hits.record(&Usage::new(9_900, 1).cache_read(0)).unwrap();
    // One of two requests was a hit, and one of a hundred tokens.
    assert_eq!(hits.within_turn().ratio(), Some(0.01));
    assert_eq!(hits.within_turn().to_string(), "1.0 %");
}

#[test]
fn a_turn_has_its_own_rate_and_the_conversation_that_of_all() {
    let mut hits = CacheHits::default();
    assert_eq!(
        hits.at_turn_starts(),
        HitRate::Unavailable(HitRateUnavailable::NoRequests)
    );
    for (turn, reads) in [[0, 500], [250, 1_000], [750, 500]].into_iter().enumerate() {
        if turn > 0 {
            hits.begin_turn();
            assert_eq!(
                hits.within_turn(),
                HitRate::Unavailable(HitRateUnavailable::NoRequests)
            );
        }
        for read in reads {
            hits.record(&Usage::new(1_000, 1).cache_read(read)).unwrap();
        }
    }
    assert_eq!(hits.within_turn().ratio(), Some(0.625));
    assert_eq!(hits.across_turns().ratio(), Some(0.5));
    assert_eq!(hits.at_turn_starts().ratio(), Some(0.5));
}

#[test]
fn missing_figures_are_unavailable_and_not_0() {
    let mut hits = CacheHits::default();
    assert_eq!(
        hits.across_turns(),
        HitRate::Unavailable(HitRateUnavailable::NoRequests)
    );
    hits.record(&Usage::default()).unwrap();
    hits.record(&Usage::new(1_000, 1)).unwrap();
    hits.record(&Usage::default().cache_read(10)).unwrap();
    assert_eq!(
        hits.across_turns(),
        HitRate::Unavailable(HitRateUnavailable::NoFigures)
    );
    assert_eq!(hits.across_turns().ratio(), None);
    assert_eq!(
        hits.across_turns().to_string(),
        "unavailable: the provider reports no figures"
    );
    hits.record(&Usage::new(1_000, 1).cache_read(600)).unwrap();
    let measured = HitRate::Measured {
        cache_read_tokens: 600,
        input_tokens: 1_000,
        requests: 1,
        requests_without_figures: 3,
    };
    assert_eq!(hits.across_turns(), measured);
    hits.begin_turn();
    hits.record(&Usage::new(0, 1).cache_read(0)).unwrap();
    assert_eq!(
        hits.within_turn(),
        HitRate::Unavailable(HitRateUnavailable::NoInput)
    );
}

#[test]
fn an_input_without_its_cached_tokens_is_refused_and_never_above_1() {
    let mut hits = CacheHits::default();
    let exclusive = Usage::new(50, 1).cache_read(950).cache_write(100);
    let error = UsageError::CacheExceedsInput {
        cached: 1_050,
        input: 50,
    };
    assert_eq!(hits.record(&exclusive), Err(error));
    assert_eq!(
        hits.across_turns(),
        HitRate::Unavailable(HitRateUnavailable::NoFigures)
    );
    let most = Usage::new(u64::MAX, 1).cache_read(u64::MAX);
    for _ in 0..2 {
        hits.record(&most).unwrap();
    }
    assert_eq!(hits.across_turns().ratio(), Some(1.0));
}
