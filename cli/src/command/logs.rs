//! `baton logs`: the output that is kept of a command, beside its client.

use baton_core_client::{Event, Watch};

use super::kill;
use crate::args::LogsArgs;
use crate::cut_output::Piece;
use crate::error::CliError;
use crate::event_json::{EventDetails, JsonLines};
use crate::event_output::{EventForm, EventOutput};
use crate::logging;
use crate::output::OutputStream;
use crate::remote::with_client;

pub(crate) fn main(args: LogsArgs) -> Result<i32, CliError> {
    logging::errors_only();
    let LogsArgs {
        follow,
        tail,
        since,
        id,
        json,
        remote,
    } = args;
    with_client(remote, async |client| {
        let process = kill::resolve(&client, &id).await?;
        let lines = JsonLines {
            id: Some(process),
            trace_id: None,
        };
        let form = EventForm {
            json,
            max_output: None,
        };
        let mut outputs = EventOutput::open(form, lines)?;
        let mut watch = client.watch_since(process, since.unwrap_or_default()).await?;
        let mut kept = Vec::new();
        let (mut is_open, mut has_begun) = (true, false);
        while is_open && !watch.is_caught_up() {
            let next = watch.next().await?;
            match next {
                // What was before `since`.
                Some(Event::Gap { .. }) if since.is_some() && !has_begun => {}
                Some(event) => match piece(event, watch.last_seq()) {
                    Ok(piece) if tail.is_some() => kept.push(piece),
                    Ok(piece) => outputs.output(piece).await?,
                    Err(event) => print(event, &watch, &mut outputs).await?,
                },
                None => is_open = false,
            }
            has_begun = true;
        }
        for piece in tail.map(|lines| last_lines(kept, lines)).unwrap_or_default() {
            outputs.output(piece).await?;
        }
        if is_open && follow {
            print_to_the_end(&mut watch, &mut outputs).await?;
        }
        outputs.finish().await?;
        Ok(0)
    })
}

/// Prints the events until the last one. Returns the command's exit code, if its exit was among them.
pub(super) async fn print_to_the_end(
    watch: &mut Watch,
    outputs: &mut EventOutput,
) -> Result<Option<i32>, CliError> {
    let mut exit = None;
    loop {
        let next = tokio::select! {
            next = watch.next() => next?,
            error = outputs.failed() => return Err(error),
        };
        let Some(event) = next else { return Ok(exit) };
        if let Event::Exited { status, .. } = event {
            exit = Some(status.shell_code());
        }
        print(event, watch, outputs).await?;
    }
}

async fn print(event: Event, watch: &Watch, outputs: &mut EventOutput) -> Result<(), CliError> {
    let details = EventDetails {
        seq: watch.last_seq(),
        outcome: watch.outcome(),
        bytes: watch.output_bytes(),
    };
    outputs.event(event, details).await
}

/// The event as a piece of output, if it is one.
fn piece(event: Event, seq: u64) -> Result<Piece, Event> {
    let (to, data) = match event {
        Event::Stdout(data) => (OutputStream::Stdout, data),
        Event::Stderr(data) => (OutputStream::Stderr, data),
        other => return Err(other),
    };
    Ok(Piece { seq, to, data })
}

/// The last lines of the output, of both streams together. A last line without its end is one.
fn last_lines(mut pieces: Vec<Piece>, lines: usize) -> Vec<Piece> {
    if lines == 0 {
        return Vec::new();
    }
    let mut ends = 0;
    let mut is_last = true;
    for index in (0..pieces.len()).rev() {
        let Some(Piece { data, .. }) = pieces.get_mut(index) else {
            break;
        };
        for at in (0..data.len()).rev() {
            let is_end = data.get(at) == Some(&b'\n');
            // The end of the last line begins no other.
            ends += usize::from(is_end && !is_last);
            is_last = false;
            if ends == lines {
                let _ = data.split_to(at + 1);
                return pieces.split_off(index);
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(pieces: &[&'static str], lines: usize) -> String {
        let pieces = pieces
            .iter()
            .map(|text| Piece {
                seq: 0,
                to: OutputStream::Stdout,
                data: text.as_bytes().into(),
            })
            .collect();
        let kept = last_lines(pieces, lines);
        kept.iter()
            .map(|piece| String::from_utf8_lossy(&piece.data).into_owned())
            .collect()
    }

    #[test]
    fn the_last_lines_are_those_of_all_pieces() {
        let pieces = ["one\ntw", "o\nthr", "ee\n"];
        for (lines, expected) in [
            (0, ""),
            (1, "three\n"),
            (2, "two\nthree\n"),
            (3, "one\ntwo\nthree\n"),
            (9, "one\ntwo\nthree\n"),
        ] {
            assert_eq!(tail(&pieces, lines), expected);
        }
        assert_eq!(tail(&["one\n", "two"], 1), "two");
        assert_eq!(tail(&["one\n", "\n", "\n"], 2), "\n\n");
        assert_eq!(tail(&[], 3), "");
    }
}
