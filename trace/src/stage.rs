//! The stage tables: for each interval of a call its bounds, the component that exports it, and whether it counts as
//! accounted time.
//!
//! [`transport`] has the stages of any call over the channel, [`exec`] those of a process, [`metadata`] the background
//! stages. A program [`register`]s the stages of the services that it mounts. Span ids, the report, metrics,
//! `docs/STAGES.md` and the coverage check read these tables. They are the only definition of a stage.

pub mod exec;
mod markdown;
pub mod metadata;
mod registry;
pub mod transport;

use std::fmt;

use opentelemetry::{SpanId, TraceId};
use siphasher::sip::SipHasher24;

pub use markdown::markdown;
pub use registry::{RegisterError, USER_IDS, close_registration, register, registered};

/// Wire id of a stage: never changed, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId(pub u8);

/// One row of a stage table.
#[derive(Debug, PartialEq, Eq)]
pub struct StageDef {
    /// Wire id; also part of the derived span id.
    pub id: StageId,
    /// Value of the attribute `baton.stage`.
    pub name: &'static str,
    /// The parent stage, in waterfalls and spans; `None` for the envelope, and for background stages.
    pub parent: Option<StageId>,
    /// Span kind.
    pub kind: StageKind,
    /// The event that starts it.
    pub from: &'static str,
    /// The event that ends it.
    pub to: &'static str,
    /// The one component that exports it, so that no stage is exported twice.
    pub exporter: Component,
    /// Counts as accounted time: on the awaited path, and in no other covering stage. The exception are relay stages,
    /// which are in a transit.
    pub covers: bool,
}

/// OpenTelemetry span kind of a stage. No PRODUCER or CONSUMER: Jaeger's critical path prunes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageKind {
    /// Inside one component.
    Internal,
    /// The client side of a call.
    Client,
    /// The server side of a call.
    Server,
}

/// The component whose resource a stage is exported under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Measured and exported by the client.
    Client,
    /// Measured by the relay's stamp, exported by the client under the relay's resource.
    Relay,
    /// Measured and exported by the server.
    Server,
}

impl StageId {
    /// The table row; `None` for an id that this version does not know and that this process did not register.
    pub fn def(self) -> Option<&'static StageDef> {
        match BY_ID[self.0 as usize] {
            None => registry::def(self),
            built_in => built_in,
        }
    }

    /// Whether users may register the id.
    pub fn is_user_defined(self) -> bool {
        USER_IDS.contains(&self.0)
    }

    /// The name of the table row, or `"unknown"`.
    pub fn name(self) -> &'static str {
        self.def().map_or("unknown", |def| def.name)
    }

    /// Whether it is a background stage, the only span of its own trace.
    pub fn is_background(self) -> bool {
        self != transport::CALL && self.def().is_some_and(|def| def.parent.is_none())
    }
}

/// The rows by wire id. The data path looks up every stage of every record.
static BY_ID: [Option<&'static StageDef>; 256] = index([transport::STAGES, exec::STAGES, metadata::STAGES]);

const fn index(tables: [&'static [StageDef]; 3]) -> [Option<&'static StageDef>; 256] {
    let mut by_id = [None; 256];
    let mut table = 0;
    while table < tables.len() {
        let mut row = 0;
        while row < tables[table].len() {
            let def = &tables[table][row];
            by_id[def.id.0 as usize] = Some(def);
            row += 1;
        }
        table += 1;
    }
    by_id
}

impl fmt::Debug for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// Every built-in stage that a call may have, in waterfall order.
pub fn all() -> impl Iterator<Item = &'static StageDef> {
    transport::STAGES.iter().chain(exec::STAGES)
}

/// The rows of the built-in tables.
fn built_in() -> impl Iterator<Item = &'static StageDef> {
    all().chain(metadata::STAGES)
}

/// The row with this `baton.stage` name.
pub fn by_name(name: &str) -> Option<&'static StageDef> {
    built_in().chain(registered()).find(|def| def.name == name)
}

/// The span id of a stage: SipHash-2-4 of call id, stage id and attempt, with the trace id as its key. Every component
/// computes the same id, so each can name a span that another exports.
///
/// It is not secret: a component that knows the ids of a call must be able to compute those of its stages.
///
/// The call id is random. It is the id of the envelope, if the client records one.
pub fn span_id(trace: TraceId, call_id: SpanId, stage: StageId, attempt: u8) -> SpanId {
    if stage == transport::CALL {
        return call_id;
    }
    let mut input = [0; 10];
    input[..8].copy_from_slice(&call_id.to_bytes());
    input[8] = stage.0;
    input[9] = attempt;
    let hash = SipHasher24::new_with_key(&trace.to_bytes()).hash(&input);
    SpanId::from_bytes(hash.to_le_bytes())
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_and_names_are_unique() {
        let mut ids = HashSet::new();
        let mut names = HashSet::new();
        for def in built_in() {
            assert!(ids.insert(def.id), "id {}", def.id.0);
            assert!(names.insert(def.name), "name {}", def.name);
            assert!(!def.id.is_user_defined(), "id {} is a user's", def.id.0);
        }
    }

    /// The reference's own vector for the key 00 01 … 0f and the message 00 01 … 09 (J.-P. Aumasson and D. J.
    /// Bernstein, "SipHash: a fast short-input PRF", `vectors.h`).
    #[test]
    fn a_span_id_is_siphash_of_what_names_the_stage() {
        let trace = TraceId::from(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
        let id = span_id(trace, SpanId::from(0x0001_0203_0405_0607), StageId(8), 9);
        assert_eq!(id, SpanId::from(0xf3b9_dd94_c5bb_5d7a));
    }

    #[test]
    fn every_parent_exists_and_only_the_envelope_has_none() {
        for def in all() {
            match def.parent {
                Some(parent) => assert!(parent.def().is_some(), "{}", def.name),
                None => assert_eq!(def.id, transport::CALL),
            }
        }
    }

    #[test]
    fn background_stages_belong_to_no_call_and_cover_nothing() {
        for def in metadata::STAGES {
            assert!(def.id.is_background() && !def.covers, "{}", def.name);
        }
        assert!(all().all(|def| !def.id.is_background()));
    }

    #[test]
    fn envelope_rpc_and_process_never_cover() {
        for id in [transport::CALL, transport::RPC, exec::PROCESS] {
            assert!(!id.def().unwrap().covers);
        }
    }

    #[test]
    fn span_ids_are_stable_and_differ_by_every_input() {
        let trace = TraceId::from(1);
        let envelope = SpanId::from(2);
        let id = |t: u128, e: u64, s, a| span_id(t.into(), e.into(), s, a);
        let base = id(1, 2, transport::DISPATCH, 0);
        assert_eq!(base, id(1, 2, transport::DISPATCH, 0));
        assert_ne!(base, id(3, 2, transport::DISPATCH, 0));
        assert_ne!(base, id(1, 3, transport::DISPATCH, 0));
        assert_ne!(base, id(1, 2, transport::TRANSIT, 0));
        assert_ne!(base, id(1, 2, transport::DISPATCH, 1));
        assert_eq!(span_id(trace, envelope, transport::CALL, 0), envelope);
    }
}
