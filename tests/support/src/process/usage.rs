//! Memory and CPU time of a process, by its pid.

use std::fs;
use std::io;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Resident memory in bytes: `Rss` of `/proc/PID/smaps_rollup`, which walks the page tables. (`statm` and `VmRSS` batch
/// their counters per CPU and may be off by a hundred kilobytes.) It includes mapped pages of the program's file,
/// shared or not. An exec-server is not dumpable, so only root may read its `smaps_rollup`; without root, the value is
/// `VmRSS`.
///
/// # Errors
/// An error of the operating system, or an unknown format of the file.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let (text, name) = match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            (fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:")
        }
        rollup => (rollup?, "Rss:"),
    };
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"))
        .and_then(|figure| figure.trim().parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// User and system CPU time of all threads of a process, including ended ones, without its children: the process's
/// CPU-time clock (`clock_getcpuclockid(3)`). It equals the sum of utime and stime in `/proc/PID/stat`, in nanoseconds
/// instead of ticks of 10 ms.
///
/// # Errors
/// An error of the operating system.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let time: TimeSpec = clock_getcpuclockid(Pid::from_raw(pid))?.now()?;
    Ok(time.into())
}

/// User and system CPU time of the children that a process has reaped, and of those that they had reaped, in ticks of
/// 10 ms.
///
/// # Errors
/// An error of the operating system, or an unknown format of `/proc/PID/stat`.
pub fn children_cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, which may contain anything.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let mut ticks = fields.into_iter().flat_map(str::split_whitespace).skip(13);
    let mut tick = || ticks.next()?.parse::<u64>().ok();
    let ticks = tick().zip(tick()).map(|(user, system)| user + system);
    let ticks = ticks.ok_or(io::ErrorKind::InvalidData)?;
    // Linux reports a hundred ticks a second on every architecture of today (sysconf(3), _SC_CLK_TCK).
    Ok(Duration::from_millis(10 * ticks))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    fn own_cpu() -> Duration {
        cpu_time(std::process::id()).unwrap()
    }

    #[test]
    fn written_memory_becomes_resident() {
        const TOUCHED: usize = 32 << 20;
        let before = resident_bytes(std::process::id()).unwrap();
        let touched = vec![1u8; TOUCHED];
        let after = resident_bytes(std::process::id()).unwrap();
        assert_eq!(touched.iter().filter(|byte| **byte == 1).count(), TOUCHED);
        assert!(after >= before + TOUCHED as u64 / 2, "{before} {after}");
    }

    #[test]
    fn the_time_of_an_ended_thread_counts() {
        const SPIN: Duration = Duration::from_millis(20);
        let before = own_cpu();
        let spin = || {
            let begun = own_cpu();
            let deadline = Instant::now() + Duration::from_secs(10);
            while own_cpu() - begun < SPIN && Instant::now() < deadline {}
        };
        std::thread::spawn(spin).join().unwrap();
        assert!(own_cpu() - before >= SPIN);
    }

    #[test]
    fn the_time_of_a_reaped_child_does_not_count() {
        const CHILDS_AT_LEAST: Duration = Duration::from_millis(50);
        // The inner shell uses CPU time for a fraction of a second. The outer shell waits for it, prints a line, and
        // stays.
        let counting = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
        let script = format!("/bin/sh -c '{counting}'; echo; read forever");
        let started = Instant::now();
        let mut parent = Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        parent.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let took = started.elapsed();
        let own = cpu_time(parent.id()).unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert!(
            took > CHILDS_AT_LEAST && own < CHILDS_AT_LEAST,
            "{took:?} {own:?}"
        );
    }

    #[test]
    fn the_time_of_a_reaped_child_counts_as_the_childrens() {
        let pid = std::process::id();
        let before = children_cpu_time(pid).unwrap();
        let counting = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        Command::new("/bin/sh").args(["-c", counting]).status().unwrap();
        assert!(children_cpu_time(pid).unwrap() >= before + Duration::from_millis(20));
    }

    #[test]
    fn a_missing_process_has_no_usage() {
        // Above the highest pid of Linux.
        const MISSING: u32 = 1 << 23;
        assert!(resident_bytes(MISSING).is_err());
        assert!(cpu_time(MISSING).is_err());
    }
}
