use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::super::mark::Marks;
use super::*;

type Table = BTreeMap<u32, Fake>;

type OnOpen = dyn FnMut(&mut Table, u32);

type OnList = dyn FnMut(&mut Table);

/// A machine in memory, on which something happens between the steps of a sweep.
#[derive(Default)]
struct Machine {
    table: Table,
    /// All signals that have reached a process, with its start time.
    sent: Vec<(u32, u64, Signal)>,
    /// Called with the pid that was opened.
    opened: Option<Box<OnOpen>>,
    /// Called before each list.
    listing: Option<Box<OnList>>,
    is_unreadable: bool,
    /// Created behind each list.
    unlisted: Option<u32>,
}

#[derive(Clone, Copy)]
struct Fake {
    stat: ProcessStat,
    environment: Environment,
    cgroup: &'static str,
    /// It may not be signalled.
    denies: bool,
    /// It waits for a device, and does not end.
    hangs: bool,
    is_stopped: bool,
}

impl Processes for Machine {
    type Handle = Identity;
    type Cgroup = &'static str;

    fn list(&mut self) -> io::Result<Vec<ProcessStat>> {
        if let Some(listing) = &mut self.listing {
            listing(&mut self.table);
        }
        match self.is_unreadable {
            true => Err(io::ErrorKind::OutOfMemory.into()),
            false => {
                let stats = self.table.values().map(|fake| fake.stat);
                Ok(stats.filter(|stat| Some(stat.pid) != self.unlisted).collect())
            }
        }
    }

    fn look(&mut self, pid: u32) -> Option<ProcessStat> {
        self.table.get(&pid).map(|fake| fake.stat)
    }

    fn environment(&mut self, pid: u32) -> Environment {
        self.table
            .get(&pid)
            .map_or(Environment::Unmarked, |fake| fake.environment)
    }

    fn members(&mut self, cgroup: &&'static str) -> Vec<u32> {
        let members = self.table.values().filter(|fake| fake.cgroup == *cgroup);
        let alive = members.filter(|fake| !fake.stat.is_zombie);
        alive.map(|fake| fake.stat.pid).collect()
    }

    fn kill_all(&mut self, cgroup: &&'static str) {
        self.table
            .retain(|_, fake| fake.cgroup != *cgroup || fake.hangs || fake.stat.is_zombie);
    }

    fn open(&mut self, pid: u32) -> Result<Identity, Errno> {
        let handle = self.table.get(&pid).map(|fake| identity(&fake.stat));
        if let Some(opened) = &mut self.opened {
            opened(&mut self.table, pid);
        }
        handle.ok_or(Errno::SRCH)
    }

    fn send(&mut self, handle: &Identity, signal: Signal) -> Result<(), Errno> {
        let found = self.table.get_mut(&handle.0);
        let fake = found
            .filter(|fake| identity(&fake.stat) == *handle)
            .ok_or(Errno::SRCH)?;
        if fake.denies {
            return Err(Errno::PERM);
        }
        self.sent.push((handle.0, handle.1, signal));
        match signal {
            Signal::STOP => fake.is_stopped = true,
            Signal::KILL if !fake.hangs => drop(self.table.remove(&handle.0)),
            _ => {}
        }
        Ok(())
    }
}

const LEADER: u32 = 100;

const NONE: [u32; 0] = [];

/// A process of no tree, child of init.
fn fake(pid: u32) -> Fake {
    Fake {
        stat: ProcessStat {
            pid,
            parent: 1,
            group: pid,
            session: pid,
            started: u64::from(pid),
            is_zombie: false,
        },
        environment: Environment::Unmarked,
        cgroup: "",
        denies: false,
        hangs: false,
        is_stopped: false,
    }
}

struct Bench {
    sweeps: Sweeps<Machine, ()>,
    mark: Mark,
    cgroup: Option<&'static str>,
    now: Instant,
}

impl Bench {
    /// With a leader that has exited.
    fn new() -> Self {
        let mut sweeps = Sweeps::new(Machine::default());
        let mut leader = fake(LEADER);
        leader.stat.is_zombie = true;
        sweeps.processes.table.insert(LEADER, leader);
        Self {
            sweeps,
            mark: Marks::new().next(),
            cgroup: None,
            now: Instant::now(),
        }
    }

    fn add(&mut self, fake: Fake) -> &mut Fake {
        let pid = fake.stat.pid;
        self.table().insert(pid, fake);
        self.table().get_mut(&pid).unwrap()
    }

    fn marked(&mut self, pid: u32) -> &mut Fake {
        let environment = Environment::Marked(self.mark);
        self.add(Fake {
            environment,
            ..fake(pid)
        })
    }

    fn tree(&self, order: Order) -> SweptTree<&'static str> {
        SweptTree {
            order,
            mark: self.mark,
            leader: LEADER,
            cgroup: self.cgroup,
        }
    }

    fn table(&mut self) -> &mut Table {
        &mut self.sweeps.processes.table
    }

    /// Sweeps to the end. Returns the survivors and the duration.
    fn sweep(&mut self, order: Order) -> (u32, Duration) {
        let begun = self.now;
        let tree = self.tree(order);
        self.sweeps.add(tree, self.now, ());
        let mut answer = None;
        for _ in 0..10_000 {
            match self
                .sweeps
                .pass(self.now, |(), survivors| answer = Some(survivors))
            {
                Some(next) => self.now = self.now.max(next),
                None => return (answer.unwrap(), self.now - begun),
            }
        }
        panic!("it never ends");
    }

    fn kill(&mut self) -> u32 {
        let at = self.now;
        self.sweep(Order::Kill { at }).0
    }

    /// The processes that are left, but for the leader.
    fn left(&mut self) -> Vec<u32> {
        self.table()
            .keys()
            .copied()
            .filter(|pid| *pid != LEADER)
            .collect()
    }

    fn sent(&self, signal: Signal) -> Vec<u32> {
        let sent = self.sweeps.processes.sent.iter();
        let mut pids: Vec<_> = sent.filter(|sent| sent.2 == signal).map(|sent| sent.0).collect();
        pids.sort_unstable();
        pids
    }
}

#[test]
fn group_session_mark_and_children_are_killed_and_nobody_else() {
    let mut bench = Bench::new();
    bench.add(fake(110)).stat.group = LEADER;
    bench.add(fake(111)).stat.session = LEADER;
    bench.marked(112);
    bench.add(fake(113)).stat.parent = 112;
    // The child of a child, with a lower pid, since pids have started again.
    let wrapped = bench.add(fake(50));
    (wrapped.stat.parent, wrapped.stat.started) = (113, 114);
    // Strangers: one of another tree, one older than the tree, a zombie, a child of a stranger.
    let other = Environment::Marked(Marks::new().next());
    bench.add(fake(120)).environment = other;
    let old = bench.marked(121);
    old.stat.started = 99;
    bench.marked(122).stat.is_zombie = true;
    bench.add(fake(123)).stat.parent = 120;
    assert_eq!(bench.kill(), 0);
    assert_eq!(bench.left(), [120, 121, 122, 123]);
    let own = [50, 110, 111, 112, 113];
    assert_eq!(bench.sent(Signal::STOP), own);
    assert_eq!(bench.sent(Signal::KILL), own);
}

#[test]
fn several_trees_share_a_pass_and_keep_apart() {
    let mut bench = Bench::new();
    let mut leader = fake(200);
    leader.stat.is_zombie = true;
    bench.add(leader);
    let second = Marks::new().next();
    bench.marked(210).denies = true;
    for pid in [211, 212] {
        let survivor = bench.add(fake(pid));
        (survivor.environment, survivor.denies) = (Environment::Marked(second), true);
    }
    let mut sweeps = Sweeps::<Machine, u32>::new(std::mem::take(&mut bench.sweeps.processes));
    let mut now = bench.now;
    let order = Order::Kill { at: now };
    let other = SweptTree {
        mark: second,
        leader: 200,
        ..bench.tree(order)
    };
    sweeps.add(bench.tree(order), now, 1);
    sweeps.add(other, now, 2);
    let mut answers = Vec::new();
    while let Some(next) = sweeps.pass(now, |tree, survivors| answers.push((tree, survivors))) {
        now = next;
    }
    answers.sort_unstable();
    assert_eq!(answers, [(1, 1), (2, 2)]);
}

#[test]
fn a_pid_that_another_process_has_got_is_not_signalled() {
    for is_before_the_handle in [true, false] {
        let mut bench = Bench::new();
        bench.marked(110);
        // The same pid, another start time.
        let reuse = |table: &mut Table| {
            let mut later = fake(110);
            later.stat.started = 999;
            table.insert(110, later);
        };
        let processes = &mut bench.sweeps.processes;
        if is_before_the_handle {
            // After the first pass has read its environment, before it is opened.
            let list = processes.list().unwrap();
            let target = *list.iter().find(|stat| stat.pid == 110).unwrap();
            reuse(&mut processes.table);
            assert_eq!(signal(processes, &target, Signal::KILL), Sent::Gone);
        } else {
            processes.opened = Some(Box::new(move |table, _| reuse(table)));
            assert_eq!(bench.kill(), 0);
        }
        assert_eq!(bench.sweeps.processes.sent, []);
        assert_eq!(bench.left(), [110]);
    }
}

#[test]
fn a_process_that_was_reaped_behind_its_check_is_not_signalled() {
    // Opened and compared, and then the pid passes on: the handle finds nothing.
    let mut bench = Bench::new();
    bench.marked(110);
    let processes = &mut bench.sweeps.processes;
    let handle = processes.open(110).unwrap();
    let mut later = fake(110);
    later.stat.started = 999;
    processes.table.insert(110, later);
    assert_eq!(processes.send(&handle, Signal::KILL), Err(Errno::SRCH));
}

#[test]
fn a_child_of_a_pid_that_was_reused_is_nobodys() {
    // 110 was marked when it was looked at, and is another process when its child is.
    let mut bench = Bench::new();
    let child = bench.add(fake(120));
    child.stat.parent = 110;
    let list = {
        bench.marked(110);
        bench.sweeps.processes.list().unwrap()
    };
    let mut later = fake(110);
    later.stat.started = 119;
    bench.add(later);
    let now = bench.now;
    let tree = bench.tree(Order::Kill { at: now });
    bench.sweeps.add(tree, now, ());
    // The environment is read after the list.
    bench.table().get_mut(&110).unwrap().environment = Environment::Marked(bench.mark);
    let members = bench.sweeps.members(&list).remove(0).listed;
    assert!(!members.iter().any(|member| member.pid == 120), "{members:?}");
}

#[test]
fn processes_that_are_created_while_they_are_killed_are_stopped_first() {
    let mut bench = Bench::new();
    bench.marked(110);
    let environment = Environment::Marked(bench.mark);
    // Whatever is not stopped creates a process at each look, without end.
    bench.sweeps.processes.listing = Some(Box::new(move |table| {
        let running: Vec<_> = table.values().filter(|fake| !fake.stat.is_zombie).collect();
        let forks = running.iter().filter(|fake| !fake.is_stopped).count();
        let next = table.keys().next_back().unwrap() + 1;
        for pid in (next..).take(forks) {
            table.insert(
                pid,
                Fake {
                    environment,
                    ..fake(pid)
                },
            );
        }
    }));
    // The fork comes before the look, so a process that was found is stopped before its next one.
    assert_eq!(bench.kill(), 0);
    assert_eq!(bench.left(), NONE);
    let sent = &bench.sweeps.processes.sent;
    let first_kill = sent.iter().position(|sent| sent.2 == Signal::KILL).unwrap();
    assert!(sent[first_kill..].iter().all(|sent| sent.2 == Signal::KILL));
    assert!(first_kill >= 2);
}

#[test]
fn a_process_behind_the_place_of_a_pass_is_found_by_the_next_one() {
    let mut bench = Bench::new();
    bench.marked(110);
    let mut late = Some(Fake {
        environment: Environment::Marked(bench.mark),
        ..fake(111)
    });
    // It appears when all others are dead, after a pass that has found nothing.
    let mut quiet = 0;
    bench.sweeps.processes.listing = Some(Box::new(move |table| {
        quiet += u32::from(table.len() == 1);
        if quiet == 2
            && let Some(late) = late.take()
        {
            table.insert(111, late);
        }
    }));
    assert_eq!(bench.kill(), 0);
    assert_eq!(bench.sent(Signal::KILL), [110, 111]);
}

#[test]
fn those_that_may_not_be_signalled_survive_and_are_counted_while_they_live() {
    let mut bench = Bench::new();
    bench.marked(110).denies = true;
    bench.marked(111).denies = true;
    bench.marked(112);
    let mut looks = 0;
    bench.sweeps.processes.listing = Some(Box::new(move |table| {
        looks += 1;
        if looks == 3 {
            table.remove(&111);
        }
    }));
    let at = bench.now;
    let (survivors, took) = bench.sweep(Order::Kill { at });
    assert_eq!((survivors, bench.left()), (1, vec![110]));
    assert!(took < SWEEP_TIMEOUT / 2, "it does not wait for them: {took:?}");
}

#[test]
fn those_that_do_not_end_in_time_survive_and_are_counted() {
    let mut bench = Bench::new();
    bench.marked(110).hangs = true;
    bench.marked(111);
    let at = bench.now;
    let (survivors, took) = bench.sweep(Order::Kill { at });
    assert_eq!((survivors, bench.left()), (1, vec![110]));
    assert!(took >= SWEEP_TIMEOUT && took < SWEEP_TIMEOUT * 2, "{took:?}");
}

#[test]
fn a_machine_whose_processes_cannot_be_listed_delays_nobody_for_ever() {
    let mut bench = Bench::new();
    bench.sweeps.processes.is_unreadable = true;
    let at = bench.now;
    let (survivors, took) = bench.sweep(Order::Kill { at });
    assert_eq!(survivors, 0);
    assert!(took >= SWEEP_TIMEOUT && took < SWEEP_TIMEOUT * 2, "{took:?}");
}

#[test]
fn what_is_left_of_a_process_that_is_over_has_time_to_end_by_itself() {
    const LATER: Duration = Duration::from_millis(200);
    // Nothing is left.
    let mut bench = Bench::new();
    let at = bench.now + LATER;
    let (_, took) = bench.sweep(Order::Kill { at });
    assert!(took < LATER, "{took:?}");
    // It ends by itself.
    let mut bench = Bench::new();
    bench.marked(110);
    let mut looks = 0;
    bench.sweeps.processes.listing = Some(Box::new(move |table| {
        looks += 1;
        if looks == 3 {
            table.remove(&110);
        }
    }));
    let at = bench.now + LATER;
    let (_, took) = bench.sweep(Order::Kill { at });
    assert!(took < LATER && bench.sweeps.processes.sent.is_empty(), "{took:?}");
    // It does not.
    let mut bench = Bench::new();
    bench.marked(110);
    let at = bench.now + LATER;
    let (_, took) = bench.sweep(Order::Kill { at });
    assert!(took >= LATER && bench.left().is_empty(), "{took:?}");
}

#[test]
fn only_descendants_outside_of_the_group_are_asked_to_end() {
    let mut bench = Bench::new();
    bench.add(fake(110)).stat.group = LEADER;
    bench.marked(111);
    bench.sweep(Order::Terminate);
    assert_eq!(bench.sent(Signal::TERM), [111]);
    assert_eq!(bench.sweeps.processes.sent.len(), 1);
}

#[test]
fn a_process_in_the_middle_of_an_exec_is_not_missed() {
    let mut bench = Bench::new();
    let environment = Environment::Marked(bench.mark);
    bench.add(fake(110)).environment = Environment::Empty;
    let mut looks = 0;
    bench.sweeps.processes.listing = Some(Box::new(move |table| {
        looks += 1;
        if looks == EMPTY_ENVIRONMENT_LOOKS
            && let Some(fake) = table.get_mut(&110)
        {
            fake.environment = environment;
        }
    }));
    bench.kill();
    assert_eq!(bench.left(), NONE);
    // One that has no environment at all is not waited for.
    let mut bench = Bench::new();
    bench.add(fake(110)).environment = Environment::Empty;
    let at = bench.now;
    let (survivors, took) = bench.sweep(Order::Kill { at });
    assert_eq!((survivors, bench.left()), (0, vec![110]));
    assert!(took < SWEEP_TIMEOUT / 2, "{took:?}");
}

const CGROUP: Option<&str> = Some("a");

/// Without a mark, and an orphan.
fn in_cgroup(pid: u32) -> Fake {
    Fake {
        cgroup: "a",
        ..fake(pid)
    }
}

#[test]
fn everything_in_the_cgroup_is_killed_as_a_whole_and_what_has_left_it_by_the_mark() {
    let mut bench = Bench::new();
    bench.cgroup = CGROUP;
    bench.add(in_cgroup(110));
    bench.add(in_cgroup(111)).denies = true;
    bench.marked(112);
    bench.add(fake(120)).cgroup = "another";
    assert_eq!(bench.kill(), 0);
    assert_eq!(bench.left(), [120]);
    assert_eq!(bench.sent(Signal::KILL), [112]);
}

#[test]
fn members_of_the_cgroup_outside_of_the_group_are_asked_to_end() {
    let mut bench = Bench::new();
    bench.cgroup = CGROUP;
    bench.add(in_cgroup(110));
    bench.add(in_cgroup(111)).stat.group = LEADER;
    bench.add(fake(120));
    assert_eq!(bench.sweep(Order::Terminate).0, 0);
    assert_eq!(bench.sent(Signal::TERM), [110]);
}

#[test]
fn a_cgroup_is_not_killed_before_its_time_and_the_sweep_ends_with_its_last_process() {
    let mut bench = Bench::new();
    bench.cgroup = CGROUP;
    bench.add(in_cgroup(110));
    let mut lists = 0;
    bench.sweeps.processes.listing = Some(Box::new(move |table| {
        lists += 1;
        if lists == 3 {
            table.remove(&110);
        }
        assert!(lists >= 3 || table.contains_key(&110));
    }));
    let at = bench.now + Duration::from_secs(60);
    let (survivors, took) = bench.sweep(Order::Kill { at });
    assert_eq!(survivors, 0);
    assert!(took < Duration::from_secs(1) && took >= SWEEP_LOOK_EVERY);
}

#[test]
fn a_process_that_came_into_the_cgroup_behind_the_list_is_waited_for() {
    let mut bench = Bench::new();
    bench.cgroup = CGROUP;
    // The cgroup is read behind the list: this process is there, and was not listed.
    let mut lists = 0;
    bench.sweeps.processes.unlisted = Some(110);
    bench.add(in_cgroup(110)).hangs = true;
    bench.sweeps.processes.listing = Some(Box::new(move |table| {
        lists += 1;
        if lists == 5 {
            table.remove(&110);
        }
    }));
    assert_eq!(bench.kill(), 0);
    assert_eq!(bench.left(), NONE);
}

#[test]
fn a_member_of_the_cgroup_that_does_not_end_is_a_survivor() {
    let mut bench = Bench::new();
    bench.cgroup = CGROUP;
    bench.add(in_cgroup(110)).hangs = true;
    assert_eq!(bench.kill(), 1);
}
