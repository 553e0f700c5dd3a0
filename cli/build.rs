//! Links the unwinder statically, if the compiler provides it as an archive: a new process starts sooner.
//!
//! The standard library links `libgcc_s.so`, which each start of `baton` has to find, map and relocate, and which runs
//! CPUID: slow in a virtual machine. Every gcc includes the same code as an archive, which is linked if it is named
//! first. Without the archive the shared library is used, and nothing else changes.

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is_for_gnu = var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux")
        && var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    // Another machine's archive is nowhere that `cc` knows.
    let is_for_this_machine = var("TARGET").ok() == var("HOST").ok();
    if is_for_gnu && is_for_this_machine && has_unwinder() {
        println!("cargo:rustc-link-lib=static=gcc_eh");
    }
}

/// Whether the linker will find the archive.
fn has_unwinder() -> bool {
    let Ok(said) = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output() else {
        return false;
    };
    // A name that was not found is said back as it is.
    std::str::from_utf8(&said.stdout).is_ok_and(|path| Path::new(path.trim()).is_absolute())
}
