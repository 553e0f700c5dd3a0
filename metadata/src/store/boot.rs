//! Identifies the boot and the process of a pid, because pids are reused and are valid within one boot only.

use std::fs;

use crate::limits::START_TICKS_SLACK;

/// The kernel's id of this boot. `None` where the kernel has none; then no survivor is ever recognised.
pub fn boot_id() -> Option<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    bytes.try_into().ok()
}

/// When the process with this pid started: field 22 of `/proc/PID/stat`, in clock ticks since boot. Pid and start time
/// identify one process within a boot. `None` when there is no such process, or it is a zombie.
pub fn process_started(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    started_in(&stat)
}

/// Whether the process that was created by `start_ticks` still runs: the one with this pid must have started then, or
/// up to [`START_TICKS_SLACK`] earlier.
pub fn is_running(pid: u32, start_ticks: u64) -> bool {
    process_started(pid).is_some_and(|began| began <= start_ticks && start_ticks - began <= START_TICKS_SLACK)
}

/// The second field is the program's name in parentheses, and may hold anything, `) ` included: count from the last
/// one.
fn started_in(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" | "x" => None,
        // The state is field 3.
        _ => fields.nth(22 - 4)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_no_later_one() {
        let me = process_started(std::process::id()).unwrap();
        assert_eq!(process_started(std::process::id()), Some(me));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let its = process_started(child.id()).unwrap();
        assert!(its >= me);
        child.kill().unwrap();
        // A zombie until it is waited for.
        while process_started(child.id()).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(process_started(child.id()), None);
    }

    #[test]
    fn a_process_may_have_begun_a_little_before_it_was_noted_and_never_after() {
        let (me, began) = (std::process::id(), process_started(std::process::id()).unwrap());
        assert!(is_running(me, began) && is_running(me, began + START_TICKS_SLACK));
        assert!(!is_running(me, began + START_TICKS_SLACK + 1));
        assert!(!is_running(me, began - 1));
    }

    #[test]
    fn a_program_may_be_called_anything() {
        let stat = b"7 (a) Z 1 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(started_in(stat), Some(4242));
        assert_eq!(started_in(b"7 (a) Z 1 1 1"), None);
        assert_eq!(started_in(b"7 (a) S 1 1 1"), None);
        assert_eq!(started_in(b""), None);
        assert_eq!(started_in(b"\xff)\xff"), None);
    }

    #[test]
    fn a_boot_has_an_id() {
        let id = boot_id().unwrap();
        assert_ne!(id, [0; 16]);
        assert_eq!(boot_id(), Some(id));
    }
}
