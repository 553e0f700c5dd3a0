//! Which traces are recorded: `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
//!
//! A decision is the sampled flag of a [`TraceContext`]. It is propagated to the exec-server, and to the command in its
//! `TRACEPARENT`.
//!
//! | sampler | with a sampled parent | with an unsampled parent | without a parent |
//! |---|---|---|---|
//! | `always_on` | yes | yes | yes |
//! | `always_off` | no | no | no |
//! | `traceidratio` | by trace id | by trace id | by trace id |
//! | `parentbased_always_on` (the default) | yes | no | yes |
//! | `parentbased_always_off` | yes | no | no |
//! | `parentbased_traceidratio` | yes | no | by trace id |
//!
//! Source: OpenTelemetry specification, "SDK environment variables" and "Trace SDK, built-in samplers".

use opentelemetry::{TraceFlags, TraceId};

use crate::w3c::TraceContext;

/// A sampler of the specification. Jaeger's remote sampler and the X-Ray sampler are not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    follows_parent: bool,
    root: RootSampler,
}

/// The decision for a trace without a parent, or whose parent is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RootSampler {
    On,
    Off,
    /// Trace ids whose last 63 bits are below this.
    Below(u64),
}

impl Default for Sampler {
    /// `parentbased_always_on`, the specification's default.
    fn default() -> Self {
        Self {
            follows_parent: true,
            root: RootSampler::On,
        }
    }
}

impl Sampler {
    /// The sampler of this name. `ratio` is the argument of the ratio samplers: 0 to 1, 1 if absent. `None` if the
    /// sampler is not supported.
    pub fn named(name: &str, ratio: Option<f64>) -> Option<Self> {
        let (follows_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let root = match root {
            "always_on" => RootSampler::On,
            "always_off" => RootSampler::Off,
            "traceidratio" => RootSampler::below(ratio.unwrap_or(1.0)),
            _ => return None,
        };
        Some(Self { follows_parent, root })
    }

    /// Whether nothing is ever sampled.
    pub fn is_off(&self) -> bool {
        !self.follows_parent && matches!(self.root, RootSampler::Off | RootSampler::Below(0))
    }

    /// Decides for a client's call: sets the sampled flag of `context`. `parent` is the sampled flag of the caller's
    /// context; `None` if there was none.
    pub fn decide(&self, context: &mut TraceContext, parent: Option<bool>) {
        let is_sampled = match parent {
            Some(is_sampled) if self.follows_parent => is_sampled,
            _ => self.root.samples(context.trace_id),
        };
        set_sampled(context, is_sampled);
    }

    /// Decides for a call that a server has admitted: clears the sampled flag of `context`, or leaves it unchanged. An
    /// exec-server's sampler never samples more than its allow-list permits a client, so only `always_off` and
    /// `traceidratio` have an effect here.
    pub fn limit(&self, context: &mut TraceContext) {
        if !self.follows_parent && context.is_sampled() && !self.root.samples(context.trace_id) {
            set_sampled(context, false);
        }
    }
}

impl RootSampler {
    fn below(ratio: f64) -> Self {
        const ALL: u64 = 1 << 63;
        // The cast saturates, so a ratio below 0 or above 1 is clamped.
        Self::Below(((ratio * ALL as f64) as u64).min(ALL))
    }

    /// Uses the algorithm of the SDKs, so that components with equal ratios make the same decision for a trace.
    fn samples(self, trace: TraceId) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Below(bound) => {
                let [.., a, b, c, d, e, f, g, h] = trace.to_bytes();
                u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < bound
            }
        }
    }
}

fn set_sampled(context: &mut TraceContext, is_sampled: bool) {
    let others = context.flags.to_u8() & !TraceFlags::SAMPLED.to_u8();
    let sampled = if is_sampled {
        TraceFlags::SAMPLED.to_u8()
    } else {
        0
    };
    context.flags = TraceFlags::new(others | sampled);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(name: &str, ratio: f64) -> Sampler {
        Sampler::named(name, Some(ratio)).unwrap()
    }

    /// Whether it samples with a sampled parent, with an unsampled one, and without one.
    fn decisions(sampler: Sampler) -> [bool; 3] {
        [Some(true), Some(false), None].map(|parent| {
            let mut context = TraceContext::new_root(parent.unwrap_or(true));
            let id = context.trace_id;
            sampler.decide(&mut context, parent);
            assert_eq!((context.trace_id, context.flags.to_u8() & 2), (id, 2));
            context.is_sampled()
        })
    }

    #[test]
    fn every_sampler_decides_as_the_specification_says() {
        for (name, ratio, expected) in [
            ("always_on", 0.0, [true, true, true]),
            ("always_off", 1.0, [false, false, false]),
            ("traceidratio", 1.0, [true, true, true]),
            ("traceidratio", 0.0, [false, false, false]),
            ("parentbased_always_on", 0.0, [true, false, true]),
            ("parentbased_always_off", 1.0, [true, false, false]),
            ("parentbased_traceidratio", 1.0, [true, false, true]),
            ("parentbased_traceidratio", 0.0, [true, false, false]),
        ] {
            assert_eq!(decisions(sampler(name, ratio)), expected, "{name} {ratio}");
        }
        assert_eq!(Sampler::default(), sampler("parentbased_always_on", 0.0));
        assert_eq!(
            Sampler::named("traceidratio", None),
            Some(sampler("traceidratio", 1.0))
        );
        for unknown in [
            "",
            "jaeger_remote",
            "parentbased_jaeger_remote",
            "xray",
            "Always_On",
        ] {
            assert_eq!(Sampler::named(unknown, None), None, "{unknown}");
        }
    }

    #[test]
    fn a_ratio_takes_its_share_of_trace_ids_and_the_same_ones_everywhere() {
        let quarter = sampler("traceidratio", 0.25);
        let below = TraceId::from(u128::from(u64::MAX / 4));
        let above = TraceId::from(u128::from(u64::MAX / 4) + 8);
        assert!(quarter.root.samples(below) && !quarter.root.samples(above));
        // The upper half of the id plays no part.
        assert!(quarter.root.samples(TraceId::from(u128::MAX << 64)));
        assert!(
            sampler("traceidratio", 1.0)
                .root
                .samples(TraceId::from(u128::MAX))
        );
    }

    #[test]
    fn a_server_only_takes_away() {
        for (name, expected) in [
            ("always_on", [true, false]),
            ("always_off", [false, false]),
            ("parentbased_always_off", [true, false]),
            ("parentbased_traceidratio", [true, false]),
        ] {
            let limited = [true, false].map(|sampled| {
                let mut context = TraceContext::new_root(sampled);
                sampler(name, 0.0).limit(&mut context);
                context.is_sampled()
            });
            assert_eq!(limited, expected, "{name}");
        }
        assert!(sampler("always_off", 1.0).is_off() && sampler("traceidratio", 0.0).is_off());
        assert!(!sampler("parentbased_always_off", 1.0).is_off());
    }
}
