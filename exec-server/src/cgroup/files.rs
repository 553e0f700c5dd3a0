//! The contents of the files of a cgroup.

/// Whether one of the words is this one, as in `cgroup.controllers`.
pub(super) fn contains_word(text: &str, word: &str) -> bool {
    text.split_ascii_whitespace().any(|found| found == word)
}

/// The process ids in `cgroup.procs`. 0 stands for a process that this process cannot see.
pub(super) fn pids(text: &str) -> impl Iterator<Item = u32> {
    let pids = text.lines().filter_map(|line| line.trim().parse().ok());
    pids.filter(|pid| *pid != 0)
}

/// The number of processes that were killed because memory was used up, from `memory.events`; 0 if it does not say.
pub(super) fn oom_kills(events: &str) -> u64 {
    let named = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    named.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_that_the_kernel_has_killed_count_as_out_of_memory() {
        let events = |oom: u32, kills: u32| {
            format!("low 0\nhigh 7\nmax 63\noom {oom}\noom_kill {kills}\noom_group_kill 9\n")
        };
        assert_eq!(oom_kills(&events(3, 0)), 0, "oom counts failed allocations too");
        assert_eq!(oom_kills(&events(1, 2)), 2);
        for other in [
            "",
            "oom_kill",
            "oom_kill \n",
            "oom_kill x\n",
            "oom_group_kill 4\n",
        ] {
            assert_eq!(oom_kills(other), 0, "{other:?}");
        }
    }

    #[test]
    fn controllers_are_whole_words() {
        assert!(contains_word("cpu memory pids\n", "memory"));
        assert!(!contains_word("hugetlb memory2\n", "memory"));
        assert!(!contains_word("", "memory"));
    }

    #[test]
    fn a_process_of_another_pid_namespace_has_no_id_here() {
        assert_eq!(pids("0\n12\n\n4000000\nx\n").collect::<Vec<_>>(), [12, 4_000_000]);
    }
}
