//! The hardware and software that the numbers depend on.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use baton_support::process;

/// Names and values, in the order in which they are printed. A value that cannot be read is `unknown`.
pub fn facts() -> Vec<(&'static str, String)> {
    let cores = available_parallelism().map_or_else(|_| unknown(), |cores| cores.to_string());
    let binary = process::baton().map(|path| path.display().to_string());
    vec![
        ("cores", cores),
        ("processor", processor().unwrap_or_else(unknown)),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        (
            "congestion control",
            read("/proc/sys/net/ipv4/tcp_congestion_control"),
        ),
        ("load before", load()),
        ("rustc", run("rustc", &["--version"]).unwrap_or_else(unknown)),
        ("commit", commit()),
        ("profile", profile().to_owned()),
        ("binary", binary.unwrap_or_else(|error| error.to_string())),
    ]
}

/// The load averages. They show whether other programs ran.
pub fn load() -> String {
    read("/proc/loadavg")
}

/// The commit of this checkout, and whether it has uncommitted changes.
pub fn commit() -> String {
    let Some(commit) = run("git", &["rev-parse", "--short=12", "HEAD"]) else {
        return unknown();
    };
    match run("git", &["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}, with changes"),
    }
}

fn profile() -> &'static str {
    if cfg!(debug_assertions) {
        "debug: these numbers mean nothing"
    } else {
        "release"
    }
}

fn processor() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(name.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

fn unknown() -> String {
    "unknown".to_owned()
}
