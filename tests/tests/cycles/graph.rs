//! The module graph of a crate, and its cycles.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;

/// The source location of a path from one module to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    /// The path from the crate root.
    pub(crate) path: String,
}

/// For each module, the modules that it names.
#[derive(Debug, Default)]
pub(crate) struct Graph(BTreeMap<String, BTreeMap<String, Location>>);

impl Graph {
    /// Adds an edge. The first location of each edge is kept.
    pub(crate) fn add(&mut self, from: &str, to: &str, location: Location) {
        let edges = self.0.entry(from.to_owned()).or_default();
        edges.entry(to.to_owned()).or_insert(location);
    }

    /// The modules that a module names directly or transitively.
    fn reached(&self, from: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(module) = open.pop() {
            for to in self.0.get(module).into_iter().flatten().map(|(to, _)| to) {
                if reached.insert(to.as_str()) {
                    open.push(to);
                }
            }
        }
        reached
    }

    /// One cycle for each strongly connected component.
    pub(crate) fn cycles(&self) -> Vec<Cycle> {
        let reached: BTreeMap<&str, BTreeSet<&str>> = self
            .0
            .keys()
            .map(|from| (from.as_str(), self.reached(from)))
            .collect();
        let mut cycles = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for (module, forward) in &reached {
            if !forward.contains(module) || seen.contains(module) {
                continue;
            }
            let back = |to: &&str| reached.get(to).is_some_and(|back| back.contains(module));
            let members: BTreeSet<&str> = forward.iter().copied().filter(back).collect();
            seen.extend(&members);
            let shortest = members
                .iter()
                .map(|from| self.shortest(from))
                .min_by_key(Vec::len)
                .expect("the module itself is a member");
            cycles.push(Cycle {
                members: members.into_iter().map(str::to_owned).collect(),
                shortest,
            });
        }
        cycles
    }

    /// The shortest path from a module in a cycle back to itself.
    fn shortest(&self, from: &str) -> Vec<Edge> {
        let mut before: BTreeMap<&str, &str> = BTreeMap::new();
        let mut open = VecDeque::from([from]);
        while let Some(module) = open.pop_front() {
            for to in self.0.get(module).into_iter().flatten().map(|(to, _)| to) {
                if !before.contains_key(to.as_str()) {
                    before.insert(to, module);
                    open.push_back(to);
                }
            }
        }
        let mut edges = Vec::new();
        let mut to = from;
        loop {
            let module = before[to];
            edges.push(Edge {
                from: module.to_owned(),
                to: to.to_owned(),
                location: self.0[module][to].clone(),
            });
            to = module;
            if to == from {
                break;
            }
        }
        edges.reverse();
        edges
    }
}

#[derive(Debug)]
struct Edge {
    from: String,
    to: String,
    location: Location,
}

/// A strongly connected component, and its shortest cycle.
#[derive(Debug)]
pub(crate) struct Cycle {
    members: Vec<String>,
    shortest: Vec<Edge>,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; the shortest cycle:", self.members.join(", "))?;
        for Edge { from, to, location } in &self.shortest {
            let Location { file, line, path } = location;
            write!(f, "\n  {from} names {to}: {}:{line}: {path}", file.display())?;
        }
        Ok(())
    }
}
