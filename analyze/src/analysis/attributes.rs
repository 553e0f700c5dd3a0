//! Which attributes slow calls have and fast calls lack.
//!
//! Slow are the calls above the 90th percentile of the envelope, fast those up to the median. An attribute is ranked by
//! the difference of its shares in both.

use std::collections::{BTreeMap, HashMap};

use siphasher::sip::SipHasher13;

use super::facts::Facts;
use crate::limits::{ATTRIBUTE_CALLS, ATTRIBUTE_PAIRS, ATTRIBUTES_OF_CALL, ATTRIBUTES_SHOWN};
use crate::model::{Trace, Value};

/// An attribute's value, and how common it is.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedAttribute {
    /// The attribute's key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The share of slow calls that have it.
    pub slow_share: f64,
    /// The share of fast calls that have it.
    pub fast_share: f64,
}

/// A sample of calls with their attributes.
#[derive(Default)]
pub(super) struct AttributeSample {
    /// By hash of trace id and span id, so that the sample does not depend on the order of the input.
    calls: BTreeMap<(u64, [u8; 8]), SampledCall>,
    pairs: HashMap<(String, String), u32>,
    /// Attributes that found no room among [`ATTRIBUTE_PAIRS`].
    pub unranked: u64,
}

struct SampledCall {
    envelope_ns: u64,
    pairs: Vec<u32>,
}

impl AttributeSample {
    pub(super) fn add(&mut self, trace: &Trace, facts: &Facts<'_>, envelope_ns: u64) {
        let mut id = [0; 24];
        id[..16].copy_from_slice(&trace.id().to_bytes());
        id[16..].copy_from_slice(&facts.head.id.to_bytes());
        let key = (SipHasher13::new().hash(&id), facts.head.id.to_bytes());
        if self.calls.len() >= ATTRIBUTE_CALLS {
            let is_outside = self.calls.last_key_value().is_none_or(|(last, _)| key >= *last);
            if is_outside {
                return;
            }
            self.calls.pop_last();
        }
        let mut pairs = Vec::new();
        let spans = [Some(&facts.head), facts.process.as_ref()];
        for span in spans.into_iter().flatten() {
            for (key, value) in trace.attributes(span).chain(trace.resource(span)) {
                if pairs.len() < ATTRIBUTES_OF_CALL && is_ranked(key) {
                    pairs.extend(self.pair(key, value));
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        self.calls.insert(key, SampledCall { envelope_ns, pairs });
    }

    fn pair(&mut self, key: &str, value: Value<'_>) -> Option<u32> {
        let value = match value {
            Value::Text(text) => text.to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Double(_) | Value::Other(_) => return None,
        };
        let next = self.pairs.len() as u32;
        if let Some(known) = self.pairs.get(&(key.to_owned(), value.clone())) {
            return Some(*known);
        }
        if self.pairs.len() >= ATTRIBUTE_PAIRS {
            self.unranked += 1;
            return None;
        }
        self.pairs.insert((key.to_owned(), value), next);
        Some(next)
    }

    /// The attributes that differ most, at most [`ATTRIBUTES_SHOWN`].
    pub(super) fn ranked(&self) -> Vec<RankedAttribute> {
        let mut envelopes: Vec<u64> = self.calls.values().map(|call| call.envelope_ns).collect();
        envelopes.sort_unstable();
        let Some(last) = envelopes.len().checked_sub(1) else {
            return Vec::new();
        };
        let (median, slow_from) = (envelopes[last / 2], envelopes[(last * 9).div_ceil(10)]);
        if median >= slow_from {
            return Vec::new();
        }
        let mut counts = vec![(0_u64, 0_u64); self.pairs.len()];
        let (mut slow, mut fast) = (0_u64, 0_u64);
        for call in self.calls.values() {
            let is_slow = call.envelope_ns >= slow_from;
            let is_fast = call.envelope_ns <= median;
            slow += u64::from(is_slow);
            fast += u64::from(is_fast);
            for pair in &call.pairs {
                let (of_slow, of_fast) = &mut counts[*pair as usize];
                *of_slow += u64::from(is_slow);
                *of_fast += u64::from(is_fast);
            }
        }
        let share = |part: u64, all: u64| part as f64 / all.max(1) as f64;
        let mut ranked: Vec<_> = self
            .pairs
            .iter()
            .map(|((key, value), pair)| {
                let (of_slow, of_fast) = counts[*pair as usize];
                RankedAttribute {
                    key: key.clone(),
                    value: value.clone(),
                    slow_share: share(of_slow, slow),
                    fast_share: share(of_fast, fast),
                }
            })
            .collect();
        let difference = |ranked: &RankedAttribute| (ranked.slow_share - ranked.fast_share).abs();
        ranked.retain(|ranked| difference(ranked) > 0.0);
        ranked.sort_by(|a, b| {
            let by_difference = difference(b).total_cmp(&difference(a));
            by_difference.then_with(|| (&a.key, &a.value).cmp(&(&b.key, &b.value)))
        });
        ranked.truncate(ATTRIBUTES_SHOWN);
        ranked
    }
}

/// Ids and figures are different for each call and explain nothing.
fn is_ranked(key: &str) -> bool {
    let is_id = key.ends_with(".id") && key != "host.id";
    let names_one_call = ["process.pid", "baton.spans", "baton.reported_by", "server.port"];
    !(is_id || key.ends_with("_ns") || names_one_call.contains(&key))
}
