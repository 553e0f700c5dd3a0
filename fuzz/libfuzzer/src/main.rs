//! Every fuzz target under libFuzzer: `BATON_FUZZ_TARGET` names the one to run, the arguments are libFuzzer's.
//! `fuzz/run` builds this with the instrumentation that libFuzzer is guided by, and says what to pass.
//!
//! One program for all, because building it costs more than the few counters that another target leaves at zero.

#![no_main]

use std::sync::OnceLock;

use baton_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let all = [
        baton_relay::fuzz::TARGETS,
        baton_noise::fuzz::TARGETS,
        baton_mux::fuzz::TARGETS,
        baton_channel::fuzz::TARGETS,
        baton_trace::fuzz::TARGETS,
        baton_export::fuzz::TARGETS,
        baton_corpus::fuzz::TARGETS,
        baton_analyze::fuzz::TARGETS,
        baton_exec_server::fuzz::TARGETS,
        baton_core_client::fuzz::TARGETS,
    ];
    let names = || all.iter().copied().flatten().map(|target| target.name);
    let wanted = std::env::var("BATON_FUZZ_TARGET").unwrap_or_default();
    if wanted == "list" {
        names().for_each(|name| println!("{name}"));
        std::process::exit(0);
    }
    let found = all.iter().copied().flatten().find(|target| target.name == wanted);
    *found.unwrap_or_else(|| {
        eprintln!(
            "BATON_FUZZ_TARGET names no target; there are: {}",
            names().collect::<Vec<_>>().join(" ")
        );
        std::process::exit(2)
    })
}

libfuzzer_sys::fuzz_target!(
    init: {
        TARGET.get_or_init(chosen);
    },
    |bytes: &[u8]| (TARGET.get_or_init(chosen).run)(bytes)
);
