//! Rounding to whole microseconds, for Jaeger.
//!
//! Jaeger counts in whole microseconds, and its critical path drops a child that starts at its parent's end, cuts one
//! that overflows, and skips siblings that touch exactly. Stages are shorter than that and touch always: one ends where
//! the next begins. So the exporter moves their edges:
//!
//! 1. every span is at least 1 µs long;
//! 2. every span lies inside its parent;
//! 3. siblings that follow one another stay 1 µs apart;
//! 4. a span *concurrent* with the awaited siblings (a process's output during `process.wait`) ends at least 1 µs
//!    before the one in which it ends: the critical path follows the child that ends last.
//!
//! A pinned span (`call`, `rpc`) keeps its real bounds, rounded outward to whole microseconds; spans around it are
//! moved. If a parent has more children than microseconds, rule 3 is not kept.

use std::ops::Range;

/// The bounds of a span before rounding.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanBounds {
    /// Start, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// End, in nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// Index of the parent among the items. Parents form no cycle.
    pub parent: Option<usize>,
    /// Keeps its bounds, rounded outward to whole microseconds.
    pub pinned: bool,
    /// Runs concurrently with its siblings, which are not moved for it.
    pub beside: bool,
}

/// The items' bounds in microseconds since the Unix epoch.
pub(super) fn to_micros(items: &[SpanBounds]) -> Vec<Range<u64>> {
    let mut placed: Vec<RoundedBounds> = items.iter().map(RoundedBounds::unplaced).collect();
    let families = Families::of(items);
    place_family(items, &mut placed, &families, None);
    placed.iter().map(|p| p.start as u64..p.end as u64).collect()
}

/// Items by parent. Members of a family are in the order of their starts.
struct Families {
    members: Vec<usize>,
    /// Where the children of each item are in `members`; before all of them are those without a parent.
    children: Vec<Range<usize>>,
    roots: usize,
}

impl Families {
    fn of(items: &[SpanBounds]) -> Self {
        let mut members: Vec<usize> = (0..items.len()).collect();
        members.sort_unstable_by_key(|&i| (items[i].parent, items[i].start_ns, items[i].end_ns, i));
        let mut children = vec![0..0; items.len()];
        let mut roots = 0;
        for (at, &member) in members.iter().enumerate() {
            match items[member].parent {
                None => roots = at + 1,
                Some(parent) if children[parent].is_empty() => children[parent] = at..at + 1,
                Some(parent) => children[parent].end = at + 1,
            }
        }
        Self {
            members,
            children,
            roots,
        }
    }

    fn members(&self, parent: Option<usize>) -> &[usize] {
        let place = parent.map_or(0..self.roots, |parent| self.children[parent].clone());
        &self.members[place]
    }
}

/// Bounds in microseconds; signed, so that bounds before the epoch are no special case.
#[derive(Debug, Clone, Copy)]
struct RoundedBounds {
    start: i64,
    end: i64,
    /// The least length that holds its descendants.
    least: i64,
    pinned: bool,
}

impl RoundedBounds {
    fn unplaced(item: &SpanBounds) -> Self {
        let nearest = |ns: u64| (ns / 1_000) as i64 + i64::from(ns % 1_000 >= 500);
        let (start, end) = if item.pinned {
            ((item.start_ns / 1_000) as i64, item.end_ns.div_ceil(1_000) as i64)
        } else {
            (nearest(item.start_ns), nearest(item.end_ns))
        };
        Self {
            start,
            end: end.max(start + 1),
            least: 1,
            pinned: item.pinned,
        }
    }
}

/// Places the descendants of `parent`.
fn place_family(
    items: &[SpanBounds],
    placed: &mut [RoundedBounds],
    families: &Families,
    parent: Option<usize>,
) {
    let all = families.members(parent);
    if all.is_empty() {
        return;
    }
    let awaited: Vec<usize>;
    let members = match all.iter().any(|&member| items[member].beside) {
        true => {
            awaited = all
                .iter()
                .copied()
                .filter(|&member| !items[member].beside)
                .collect();
            &awaited[..]
        }
        false => all,
    };
    for &member in members {
        if !placed[member].pinned {
            placed[member].least = room_inside(items, families, member);
        }
    }
    let bounds = match parent {
        Some(parent) => placed[parent].start..placed[parent].end,
        None => 0..i64::MAX / 4,
    };
    let fits = separate(items, placed, members, &bounds) || {
        for &member in members {
            placed[member] = RoundedBounds::unplaced(&items[member]);
        }
        separate(items, placed, members, &bounds)
    };
    if !fits {
        for &member in members {
            contain(&mut placed[member], &bounds);
        }
    }
    for &member in all.iter().filter(|&&member| items[member].beside) {
        contain(&mut placed[member], &bounds);
        if let Some(within) = ends_within(items, members, member) {
            let within = placed[within];
            hide(&mut placed[member], &within, bounds.start);
        }
    }
    for &member in all {
        place_family(items, placed, families, Some(member));
    }
}

/// The awaited sibling in which the concurrent span ends: the first that does not end before it does, else the one that
/// ends last.
fn ends_within(items: &[SpanBounds], awaited: &[usize], beside: usize) -> Option<usize> {
    let end = |member: &usize| items[*member].end_ns;
    let around = awaited
        .iter()
        .copied()
        .filter(|member| end(member) >= items[beside].end_ns);
    around
        .min_by_key(end)
        .or_else(|| awaited.iter().copied().max_by_key(end))
}

/// Ends a span 1 µs before `within` ends, but not before `within` begins, where it would compete with the previous
/// sibling.
fn hide(p: &mut RoundedBounds, within: &RoundedBounds, first: i64) {
    p.end = p.end.max(within.start).min(within.end - 1).max(first + 1);
    p.start = p.start.min(p.end - 1);
}

/// The least length that holds the longest chain of followers inside `parent`, 1 µs apart.
fn room_inside(items: &[SpanBounds], families: &Families, parent: usize) -> i64 {
    let members = families.members(Some(parent));
    if members.is_empty() {
        return 1;
    }
    let mut chains: Vec<i64> = Vec::new();
    for (nth, &member) in members.iter().enumerate() {
        let before = (0..nth)
            .filter(|&m| !items[members[m]].beside && follows(items, members[m], member))
            .map(|m| chains[m] + 1);
        let before = before.max().unwrap_or(0);
        chains.push(before + room_inside(items, families, member));
    }
    chains.into_iter().max().unwrap_or(1)
}

/// Whether `later` begins where `earlier` has ended, to the microsecond.
fn follows(items: &[SpanBounds], earlier: usize, later: usize) -> bool {
    let (a, b) = (&items[earlier], &items[later]);
    // Called for every pair. Rounding moves two edges together by at most 1 µs, so most pairs are decided without it.
    a.end_ns <= b.start_ns
        || a.end_ns <= b.start_ns.saturating_add(1_000)
            && RoundedBounds::unplaced(a).end <= RoundedBounds::unplaced(b).start
}

/// Moves edges until followers stand 1 µs apart inside `bounds`; `false` where they do not fit.
fn separate(
    items: &[SpanBounds],
    placed: &mut [RoundedBounds],
    members: &[usize],
    bounds: &Range<i64>,
) -> bool {
    // Forward: shorten the earlier one, and where that is not enough move the later one.
    for (nth, &member) in members.iter().enumerate() {
        if !placed[member].pinned {
            let p = &mut placed[member];
            p.start = p.start.clamp(bounds.start, bounds.end);
            p.end = p.end.clamp(bounds.start, bounds.end).max(p.start + p.least);
        }
        for &earlier in &members[..nth] {
            if !follows(items, earlier, member) || placed[earlier].end < placed[member].start {
                continue;
            }
            let wanted = placed[member].start - 1;
            let e = &mut placed[earlier];
            if !e.pinned {
                e.end = wanted.max(e.start + e.least).min(e.end);
            }
            let free = e.end + 1;
            let p = &mut placed[member];
            if !p.pinned && p.start < free {
                p.start = free;
                p.end = p.end.max(free + p.least);
            }
        }
    }
    // Backward: what was pushed over the end, or into a pinned one, pushes back.
    for (nth, &member) in members.iter().enumerate().rev() {
        let mut last = bounds.end;
        for &later in &members[nth + 1..] {
            if follows(items, member, later) {
                last = last.min(placed[later].start - 1);
            }
        }
        let p = &mut placed[member];
        if p.end > last && !p.pinned {
            p.end = last;
            p.start = p.start.min(last - p.least);
        }
        if p.end > last || p.start < bounds.start {
            return false;
        }
    }
    true
}

/// Forces one span inside `bounds`, at least 1 µs long.
fn contain(p: &mut RoundedBounds, bounds: &Range<i64>) {
    p.start = p.start.clamp(bounds.start, bounds.end - 1);
    p.end = p.end.clamp(p.start + 1, bounds.end);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(start_ns: u64, end_ns: u64, parent: impl Into<Option<usize>>) -> SpanBounds {
        let parent = parent.into();
        SpanBounds {
            start_ns,
            end_ns,
            parent,
            pinned: parent.is_none(),
            beside: false,
        }
    }

    #[test]
    fn the_root_keeps_its_bounds_outward() {
        assert_eq!(to_micros(&[item(1_900, 10_100, None)])[0], 1..11);
        assert_eq!(to_micros(&[item(5_000, 5_000, None)])[0], 5..6);
    }

    #[test]
    fn touching_siblings_are_drawn_apart() {
        let items = [
            item(0, 100_000, None),
            item(0, 40_000, 0),
            item(40_000, 100_000, 0),
        ];
        assert_eq!(to_micros(&items), [0..100, 0..39, 40..100]);
    }

    #[test]
    fn stages_shorter_than_a_microsecond_push_the_next_one() {
        let items = [
            item(0, 100_000, None),
            item(0, 300, 0),
            item(300, 700, 0),
            item(700, 100_000, 0),
        ];
        assert_eq!(to_micros(&items), [0..100, 0..1, 2..3, 4..100]);
    }

    #[test]
    fn what_does_not_fit_at_the_end_pushes_back() {
        let items = [
            item(0, 10_000, None),
            item(0, 9_800, 0),
            item(9_800, 9_900, 0),
            item(9_900, 10_000, 0),
        ];
        assert_eq!(to_micros(&items), [0..10, 0..6, 7..8, 9..10]);
    }

    #[test]
    fn a_parent_grows_for_its_children_where_there_is_room() {
        let items = [
            item(0, 50_000, None),
            item(10_000, 11_000, 0),
            item(10_000, 10_500, 1),
            item(10_500, 11_000, 1),
        ];
        assert_eq!(to_micros(&items), [0..50, 10..13, 10..11, 12..13]);
    }

    #[test]
    fn containment_is_kept_where_separation_cannot_be() {
        let items = [
            item(0, 2_000, None),
            item(0, 700, 0),
            item(700, 1_300, 0),
            item(1_300, 2_000, 0),
        ];
        for child in &to_micros(&items)[1..] {
            assert!(child.end <= 2 && child.start < child.end, "{child:?}");
        }
    }

    #[test]
    fn around_a_pinned_handler_the_others_give_way() {
        let handler = item(10_400, 90_000, None);
        let loose = |start, end| SpanBounds {
            pinned: false,
            ..item(start, end, None)
        };
        let items = [
            loose(9_900, 10_200),
            loose(10_200, 10_400),
            handler,
            loose(90_000, 90_300),
        ];
        assert_eq!(to_micros(&items), [6..7, 8..9, 10..90, 91..92]);
    }

    /// A process: spawned, waited for, closed, and its output beside that.
    fn process(spawned: u64, first: u64, end_of_file: u64, exited: u64, closed: u64) -> [SpanBounds; 6] {
        let beside = |start, end| SpanBounds {
            beside: true,
            ..item(start, end, 0)
        };
        [
            item(0, closed, None),
            item(0, spawned, 0),
            beside(spawned, first),
            beside(first, end_of_file),
            item(spawned, exited, 0),
            item(exited, closed, 0),
        ]
    }

    #[test]
    fn output_ends_before_the_waiting_or_the_closing_in_which_it_ends() {
        // It ends while the process runs; with its exit; with its end; in between.
        for (end_of_file, ends_in, at) in [(40_000, 4, 40), (90_000, 4, 88), (99_000, 5, 98), (95_000, 5, 95)]
        {
            let placed = to_micros(&process(10_000, 20_000, end_of_file, 90_000, 99_000));
            assert_eq!(placed[4..], [10..89, 90..99]);
            assert_eq!(placed[3].end, at, "{placed:?}");
            assert!(placed[3].end < placed[ends_in].end, "{placed:?}");
        }
    }

    #[test]
    fn output_makes_no_awaited_sibling_move_and_competes_with_none() {
        // All of it within three microseconds.
        let placed = to_micros(&process(10_000, 10_100, 10_200, 10_300, 13_000));
        assert_eq!(placed[1], 0..9);
        assert_eq!(placed[4], 10..11);
        assert_eq!(placed[5], 12..13);
        for beside in &placed[2..4] {
            assert!(beside.end < placed[4].end, "{placed:?}");
        }
    }

    #[test]
    fn siblings_keep_out_of_a_pinned_one() {
        let pinned = SpanBounds {
            pinned: true,
            ..item(30_200, 70_800, 0)
        };
        let items = [
            item(0, 100_000, None),
            item(0, 30_200, 0),
            pinned,
            item(70_800, 100_000, 0),
        ];
        assert_eq!(to_micros(&items), [0..100, 0..29, 30..71, 72..100]);
    }

    /// A parent before its children: random forests in which everything real lies inside the root.
    fn forests() -> impl Strategy<Value = Vec<SpanBounds>> {
        let node = (any::<prop::sample::Index>(), 0u64..400_000, 0u64..60_000);
        prop::collection::vec(node, 0..24).prop_map(|nodes| {
            let mut items = vec![item(1_000_000, 1_400_000, None)];
            for (parent, start, length) in nodes {
                let parent = parent.index(items.len().min(5));
                let start = 1_000_000 + start;
                items.push(item(start, start + length, parent));
            }
            items
        })
    }

    /// Chains of touching stages, as a call has them.
    fn chains() -> impl Strategy<Value = Vec<SpanBounds>> {
        (prop::collection::vec(0u64..20_000, 1..24), 0u64..1_000).prop_map(|(lengths, start)| {
            let total: u64 = lengths.iter().sum();
            let start = 1_000_000 + start;
            let mut items = vec![item(start, start + total, None)];
            let mut at = start;
            for length in lengths {
                items.push(item(at, at + length, 0));
                at += length;
            }
            items
        })
    }

    fn check_containment(items: &[SpanBounds], placed: &[Range<u64>]) -> Result<(), TestCaseError> {
        for (item, span) in items.iter().zip(placed) {
            prop_assert!(span.start < span.end, "{:?} shorter than 1 µs", span);
            if let Some(parent) = item.parent {
                let parent = &placed[parent];
                prop_assert!(
                    parent.start <= span.start && span.end <= parent.end,
                    "{:?} in {:?}",
                    span,
                    parent
                );
            }
        }
        Ok(())
    }

    fn check_separation(items: &[SpanBounds], placed: &[Range<u64>]) -> Result<(), TestCaseError> {
        for a in 0..items.len() {
            for b in 0..items.len() {
                let siblings = a != b && items[a].parent == items[b].parent;
                if siblings && items[a].end_ns <= items[b].start_ns && items[a].start_ns < items[b].start_ns {
                    prop_assert!(
                        placed[a].end < placed[b].start,
                        "{:?} touches {:?}",
                        placed[a],
                        placed[b]
                    );
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn spans_are_contained_and_never_empty(items in forests()) {
            check_containment(&items, &to_micros(&items))?;
        }

        #[test]
        fn followers_stay_apart_in_a_call_with_room(items in chains()) {
            let placed = to_micros(&items);
            check_containment(&items, &placed)?;
            let root = &placed[0];
            prop_assert_eq!(root.start, items[0].start_ns / 1_000);
            if (root.end - root.start) as usize >= 2 * (items.len() - 1) {
                check_separation(&items, &placed)?;
            }
        }

        #[test]
        fn no_figures_panic(
            nodes in prop::collection::vec((any::<u64>(), any::<u64>(), any::<bool>(), any::<bool>()), 1..40)
        ) {
            let items: Vec<_> = nodes.iter().enumerate().map(|(nth, (start_ns, end_ns, pinned, beside))| SpanBounds {
                start_ns: *start_ns,
                end_ns: *end_ns,
                parent: nth.checked_sub(1).map(|n| n / 3),
                pinned: *pinned,
                beside: *beside,
            }).collect();
            check_containment(&items, &to_micros(&items))?;
        }
    }
}
