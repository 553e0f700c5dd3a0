//! Stages that a program registers for the services that it mounts.
//!
//! The ids 192 to 254 are user-defined. A program registers its rows before its first call, at both ends of the
//! channel. Spans, waterfall, in-band timings and remainder then use them like built-in rows. An unregistered id is not
//! an error: it is drawn as `unknown(N)` and never covers.
//!
//! The data path looks up rows, so each id has a slot that is written once and read without a lock.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use thiserror::Error;

use super::{Component, StageDef, StageId, built_in};
use crate::limits::{REGISTERED_STAGES_MAX, STAGE_NAME_MAX};

/// The ids of user-defined stages.
pub const USER_IDS: RangeInclusive<u8> = FIRST..=LAST;

const FIRST: u8 = 192;
const LAST: u8 = 254;
const SLOTS: usize = (LAST - FIRST) as usize + 1;

/// Why rows were not registered. The registering program is at fault. None of the rows is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// The process has already made or served a call.
    #[error("stages must be registered before the first call")]
    TooLate,
    /// More rows than [`REGISTERED_STAGES_MAX`].
    #[error("at most {REGISTERED_STAGES_MAX} stages can be registered")]
    TooMany,
    /// The id belongs to the built-in tables.
    #[error("stage `{name}` has the id {id}; registered stages have ids from {FIRST} to {LAST}")]
    IdOutOfRange {
        /// The row's name.
        name: &'static str,
        /// Its id.
        id: u8,
    },
    /// Another row has the id.
    #[error("stage `{name}` has the id {id} of the stage `{taken_by}`")]
    IdTaken {
        /// The row's name.
        name: &'static str,
        /// Its id.
        id: u8,
        /// The name of the row that has it.
        taken_by: &'static str,
    },
    /// Another row has the name.
    #[error("stage {id} has the name `{name}` of another stage")]
    NameTaken {
        /// The row's name.
        name: &'static str,
        /// Its id.
        id: u8,
    },
    /// The name has a character or a length that is not allowed.
    #[error("the name of stage {id} must have 1 to {STAGE_NAME_MAX} characters of a-z, 0-9, `.` and `_`")]
    Name {
        /// The row's id.
        id: u8,
    },
    /// No row above this one has the parent's id, or the parent is a background stage.
    #[error("the parent of stage `{name}` is neither a stage of a call nor registered before it")]
    NoSuchParent {
        /// The row's name.
        name: &'static str,
    },
    /// A stage has another exporter than its parent, or the relay, which measures no registered stage.
    #[error("stage `{name}` must be exported by the same component as its parent, the client or the server")]
    Component {
        /// The row's name.
        name: &'static str,
    },
}

/// Registers the stages of a mounted service in this process, in waterfall order, parents before their children. Both
/// ends of the channel register the same rows before their first call, each in its process.
///
/// Registering an equal row again is no error: a service's client and its server may both register its rows.
///
/// # Errors
///
/// [`RegisterError`]. No row is registered then.
pub fn register(stages: &'static [StageDef]) -> Result<(), RegisterError> {
    REGISTRY.register(stages)
}

/// The registered rows, by id.
pub fn registered() -> impl Iterator<Item = &'static StageDef> {
    REGISTRY.rows()
}

/// Ends registration. The channel calls it at both ends when the first call begins.
pub fn close_registration() {
    REGISTRY.close();
}

/// The registered row with this id.
pub(super) fn def(id: StageId) -> Option<&'static StageDef> {
    REGISTRY.def(id)
}

static REGISTRY: Registry = Registry::new();

struct Registry {
    slots: [OnceLock<&'static StageDef>; SLOTS],
    /// Held while rows are checked and added, so that either all rows of a table are registered or none.
    adding: Mutex<()>,
    closed: AtomicBool,
}

impl Registry {
    const fn new() -> Self {
        Self {
            slots: [const { OnceLock::new() }; SLOTS],
            adding: Mutex::new(()),
            closed: AtomicBool::new(false),
        }
    }

    fn register(&self, stages: &'static [StageDef]) -> Result<(), RegisterError> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if stages.iter().all(|def| self.def(def.id) == Some(def)) {
            return Ok(());
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(RegisterError::TooLate);
        }
        let mut fresh: Vec<&'static StageDef> = Vec::new();
        for def in stages {
            if self.def(def.id) == Some(def) {
                continue;
            }
            self.check(def, &fresh)?;
            fresh.push(def);
        }
        if self.rows().count() + fresh.len() > REGISTERED_STAGES_MAX {
            return Err(RegisterError::TooMany);
        }
        for def in fresh {
            // The slot is empty: `check` found no row with this id.
            let _ = self.slots[usize::from(def.id.0 - FIRST)].set(def);
        }
        Ok(())
    }

    /// Whether `def` may be registered after the registered rows and `fresh`, the rows above it.
    fn check(&self, def: &'static StageDef, fresh: &[&'static StageDef]) -> Result<(), RegisterError> {
        let StageDef { id, name, .. } = *def;
        let id = id.0;
        if !USER_IDS.contains(&id) {
            return Err(RegisterError::IdOutOfRange { name, id });
        }
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_');
        if !(1..=STAGE_NAME_MAX).contains(&name.len()) || !name.bytes().all(is_plain) {
            return Err(RegisterError::Name { id });
        }
        let above = || self.rows().chain(fresh.iter().copied());
        if let Some(other) = above().find(|other| other.id == def.id) {
            let taken_by = other.name;
            return Err(RegisterError::IdTaken { name, id, taken_by });
        }
        if built_in().chain(above()).any(|other| other.name == name) {
            return Err(RegisterError::NameTaken { name, id });
        }
        let in_calls = super::all().chain(above());
        let parent = def
            .parent
            .and_then(|parent| in_calls.into_iter().find(|other| other.id == parent));
        let Some(parent) = parent else {
            return Err(RegisterError::NoSuchParent { name });
        };
        if def.exporter == Component::Relay || def.exporter != parent.exporter {
            return Err(RegisterError::Component { name });
        }
        Ok(())
    }

    fn def(&self, id: StageId) -> Option<&'static StageDef> {
        let slot = self.slots.get(usize::from(id.0.checked_sub(FIRST)?))?;
        slot.get().copied()
    }

    fn rows(&self) -> impl Iterator<Item = &'static StageDef> {
        self.slots.iter().filter_map(|slot| slot.get().copied())
    }

    fn close(&self) {
        // Reading first keeps the cache line shared between threads that make calls.
        if !self.closed.load(Ordering::Relaxed) {
            // A concurrent registration completes before the call.
            let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
            self.closed.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::stage::StageKind;
    use crate::stage::exec::PROCESS;
    use crate::stage::metadata::METADATA_FLUSH;
    use crate::stage::transport::{CALL, RELAY_QUEUE, RPC};

    const fn row(id: u8, name: &'static str, parent: StageId) -> StageDef {
        StageDef {
            id: StageId(id),
            name,
            parent: Some(parent),
            kind: StageKind::Internal,
            from: "a",
            to: "b",
            exporter: Component::Server,
            covers: true,
        }
    }

    /// Rows are never freed, in tests too.
    fn table(rows: impl IntoIterator<Item = StageDef>) -> &'static [StageDef] {
        Box::leak(rows.into_iter().collect())
    }

    fn names(registry: &Registry) -> Vec<&'static str> {
        registry.rows().map(|def| def.name).collect()
    }

    #[test]
    fn registered_rows_are_found_by_id_and_others_are_not() {
        let registry = Registry::new();
        let rows = table([row(192, "a", RPC), row(254, "a.b", StageId(192))]);
        assert_eq!(registry.register(rows), Ok(()));
        assert_eq!(registry.def(StageId(192)), Some(&rows[0]));
        assert_eq!(registry.def(StageId(254)), Some(&rows[1]));
        for id in (0..192).chain(193..254).chain([255]) {
            assert_eq!(registry.def(StageId(id)), None, "{id}");
        }
    }

    #[test]
    fn a_table_with_a_fault_is_refused_by_name_and_registers_nothing() {
        let client = |parent, exporter| StageDef {
            exporter,
            ..row(201, "b", parent)
        };
        let orphan = StageDef {
            parent: None,
            ..row(201, "b", RPC)
        };
        let long: &'static str = "x".repeat(STAGE_NAME_MAX + 1).leak();
        let taken_by = "a";
        for (fault, rows) in [
            (
                RegisterError::IdOutOfRange { name: "b", id: 191 },
                vec![row(191, "b", RPC)],
            ),
            (
                RegisterError::IdOutOfRange { name: "b", id: 255 },
                vec![row(255, "b", RPC)],
            ),
            (
                RegisterError::IdOutOfRange { name: "b", id: 13 },
                vec![row(13, "b", RPC)],
            ),
            (
                RegisterError::IdTaken {
                    name: "b",
                    id: 200,
                    taken_by,
                },
                vec![row(200, "b", RPC)],
            ),
            (
                RegisterError::IdTaken {
                    name: "c",
                    id: 201,
                    taken_by: "b",
                },
                vec![row(201, "b", RPC), row(201, "c", RPC)],
            ),
            (
                RegisterError::NameTaken { name: "a", id: 201 },
                vec![row(201, "a", RPC)],
            ),
            (
                RegisterError::NameTaken {
                    name: "transit",
                    id: 201,
                },
                vec![row(201, "transit", RPC)],
            ),
            (
                RegisterError::NameTaken {
                    name: "metadata.flush",
                    id: 201,
                },
                vec![row(201, "metadata.flush", RPC)],
            ),
            (RegisterError::Name { id: 201 }, vec![row(201, "", RPC)]),
            (RegisterError::Name { id: 201 }, vec![row(201, "B\x1b[2J", RPC)]),
            (RegisterError::Name { id: 201 }, vec![row(201, long, RPC)]),
            (RegisterError::NoSuchParent { name: "b" }, vec![orphan]),
            (
                RegisterError::NoSuchParent { name: "b" },
                vec![row(201, "b", METADATA_FLUSH)],
            ),
            (
                RegisterError::NoSuchParent { name: "b" },
                vec![row(201, "b", StageId(201))],
            ),
            (
                RegisterError::NoSuchParent { name: "b" },
                vec![row(201, "b", StageId(202)), row(202, "c", RPC)],
            ),
            (
                RegisterError::Component { name: "b" },
                vec![client(RPC, Component::Client)],
            ),
            (
                RegisterError::Component { name: "b" },
                vec![client(CALL, Component::Server)],
            ),
            (
                RegisterError::Component { name: "b" },
                vec![client(RELAY_QUEUE, Component::Relay)],
            ),
        ] {
            let registry = Registry::new();
            registry.register(table([row(200, "a", PROCESS)])).unwrap();
            let rows = table([row(210, "fine", RPC)].into_iter().chain(rows));
            assert_eq!(registry.register(rows), Err(fault), "{fault}");
            assert_eq!(names(&registry), ["a"], "{fault}");
        }
    }

    #[test]
    fn the_number_of_rows_is_bounded() {
        let rows = || {
            (FIRST..).map(|id| {
                let name: &'static str = format!("n{id}").leak();
                row(id, name, RPC)
            })
        };
        let registry = Registry::new();
        assert_eq!(
            registry.register(table(rows().take(REGISTERED_STAGES_MAX + 1))),
            Err(RegisterError::TooMany)
        );
        assert_eq!(registry.rows().count(), 0);
        registry
            .register(table(rows().take(REGISTERED_STAGES_MAX)))
            .unwrap();
        assert_eq!(
            registry.register(table([row(LAST, "last", RPC)])),
            Err(RegisterError::TooMany)
        );
    }

    #[test]
    fn nothing_new_is_registered_after_the_first_call() {
        let registry = Registry::new();
        registry.register(table([row(200, "a", RPC)])).unwrap();
        registry.close();
        assert_eq!(
            registry.register(table([row(201, "b", RPC)])),
            Err(RegisterError::TooLate)
        );
        assert_eq!(
            registry.register(table([row(200, "a", CALL)])),
            Err(RegisterError::TooLate)
        );
        assert_eq!(names(&registry), ["a"]);
        assert_eq!(
            registry.register(table([row(200, "a", RPC)])),
            Ok(()),
            "it is registered"
        );
    }

    proptest! {
        /// For any registrations in any order: ids and names are unique, and every parent is in a table without cycles.
        #[test]
        fn the_rows_stay_a_forest(
            tables in prop::collection::vec(prop::collection::vec((186u8.., 0usize..24, 186u8..), 0..6), 0..12),
        ) {
            let names: Vec<&'static str> = (0..24).map(|n| &*format!("n{n}").leak()).collect();
            let registry = Registry::new();
            for rows in tables {
                let parent = |id: u8| if id < FIRST { RPC } else { StageId(id) };
                let rows = table(rows.into_iter().map(|(id, name, over)| row(id, names[name], parent(over))));
                let before: Vec<_> = registry.rows().collect();
                let after = match registry.register(rows) {
                    Ok(()) => before.iter().copied().chain(rows.iter().filter(|def| !before.contains(def))).collect(),
                    Err(_) => before,
                };
                let all: Vec<_> = registry.rows().collect();
                prop_assert_eq!(all.len(), after.len());
                prop_assert!(all.iter().all(|def| after.contains(def)));
                let names: HashSet<_> = all.iter().map(|def| def.name).collect();
                prop_assert_eq!(names.len(), after.len());
                for def in after {
                    let mut above = def.parent;
                    let mut steps = 0;
                    while let Some(id) = above.filter(|id| *id != RPC) {
                        above = registry.def(id).unwrap().parent;
                        steps += 1;
                        prop_assert!(steps <= SLOTS, "a cycle above {}", def.name);
                    }
                }
            }
        }
    }
}
