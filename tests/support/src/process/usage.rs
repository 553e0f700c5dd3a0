//! What a process used of the machine, by its id.

use std::fs;
use std::io;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Resident memory in bytes: `Rss` of `/proc/PID/smaps_rollup`, which walks the page tables. (`statm` and `VmRSS` batch
/// their counters per CPU and may be off by a hundred kilobytes.) Pages of the program's file that are mapped in count,
/// shared or not. Only root may read that file of an exec-server, which is not dumpable; others get `VmRSS`.
///
/// # Errors
/// The operating system's, or a file in another format.
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

/// CPU time, user and system, of all its threads, ended ones included, and of none of its children: the process's CPU-time
/// clock (`clock_getcpuclockid(3)`). It is the sum that `/proc/PID/stat` shows as utime and stime, in nanoseconds
/// instead of ticks of 10 ms.
///
/// # Errors
/// The operating system's.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let time: TimeSpec = clock_getcpuclockid(Pid::from_raw(pid))?.now()?;
    Ok(time.into())
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
    fn memory_that_is_touched_becomes_resident() {
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
        // The inner shell counts for a good part of a second; the outer one waits for it, says so, and stays.
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
    fn a_process_that_is_not_there_has_no_usage() {
        // Above the highest pid that Linux gives out.
        const NOBODY: u32 = 1 << 23;
        assert!(resident_bytes(NOBODY).is_err());
        assert!(cpu_time(NOBODY).is_err());
    }
}
