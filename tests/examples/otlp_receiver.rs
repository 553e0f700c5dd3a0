//! Prints every span that it receives over OTLP (gRPC), one a line: trace id, span id, parent's span id or `-`, service, stage or `-`.
//!
//! `cargo run -p baton-tests --example otlp_receiver -- 127.0.0.1:4317`

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use baton_support::collector::{Collector, ReceivedSpan};

/// How long to sleep between two looks when nothing comes.
const PATIENCE: Duration = Duration::from_secs(3600);

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("the address to listen on is missing")?;
    let collector = Collector::start_at(address.parse()?)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {}", collector.endpoint())?;
    let mut printed = 0;
    loop {
        let spans = collector.wait_for(PATIENCE, |spans| spans.len() > printed);
        for received in &spans[printed..] {
            writeln!(out, "{}", line(received))?;
        }
        printed = spans.len();
    }
}

fn line(received: &ReceivedSpan) -> String {
    let hex = |id: &[u8]| match id {
        [] => "-".to_owned(),
        id => id.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let span = &received.span;
    format!(
        "{} {} {} {} {}",
        hex(&span.trace_id),
        hex(&span.span_id),
        hex(&span.parent_span_id),
        received.service,
        received.attribute("baton.stage").unwrap_or("-"),
    )
}
