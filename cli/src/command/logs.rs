//! `baton logs`: the output that is kept of a command, beside its client.

use baton_core_client::{Client, Event, Watch};
use baton_trace::text::counted;
use bytes::Bytes;

use super::kill;
use crate::args::LogsArgs;
use crate::error::CliError;
use crate::logging;
use crate::output::{OutputStream, OutputStreams};
use crate::remote::with_client;

/// A piece of output.
type Piece = (OutputStream, Bytes);

pub(crate) fn main(args: LogsArgs) -> Result<i32, CliError> {
    logging::errors_only();
    let LogsArgs {
        follow,
        tail,
        id,
        remote,
    } = args;
    with_client(remote, async |client| {
        let mut outputs = OutputStreams::open()?;
        let mut watch = watch(&client, &id).await?;
        let mut kept = Vec::new();
        let mut is_open = true;
        while is_open && !watch.is_caught_up() {
            match next(&mut watch).await? {
                Some(Some(piece)) if tail.is_some() => kept.push(piece),
                Some(Some((to, data))) => outputs.write(to, data).await?,
                Some(None) => {}
                None => is_open = false,
            }
        }
        for (to, data) in tail.map(|lines| last_lines(kept, lines)).unwrap_or_default() {
            outputs.write(to, data).await?;
        }
        while is_open && follow {
            let next = tokio::select! {
                next = next(&mut watch) => next?,
                error = outputs.failed() => return Err(error),
            };
            match next {
                Some(Some((to, data))) => outputs.write(to, data).await?,
                Some(None) => {}
                None => is_open = false,
            }
        }
        outputs.finish().await?;
        Ok(0)
    })
}

async fn watch(client: &Client, id: &str) -> Result<Watch, CliError> {
    let process = kill::resolve(client, id).await?;
    Ok(client.watch(process, 0).await?)
}

/// The next event, as a piece of output if it is one; `None` at the end.
async fn next(watch: &mut Watch) -> Result<Option<Option<Piece>>, CliError> {
    Ok(watch.next().await?.map(|event| match event {
        Event::Stdout(data) => Some((OutputStream::Stdout, data)),
        Event::Stderr(data) => Some((OutputStream::Stderr, data)),
        Event::Gap { events } => {
            let missing = counted(events, "piece of output is", "pieces of output are");
            stderr_line!("baton: {missing} not kept any more");
            None
        }
        Event::Started { .. } | Event::Exited { .. } | Event::Closed { .. } => None,
    }))
}

/// The last lines of the output, of both streams together. A last line without its end is one.
fn last_lines(mut pieces: Vec<Piece>, lines: usize) -> Vec<Piece> {
    if lines == 0 {
        return Vec::new();
    }
    let mut ends = 0;
    let mut is_last = true;
    for index in (0..pieces.len()).rev() {
        let Some((_, data)) = pieces.get_mut(index) else {
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
            .map(|text| (OutputStream::Stdout, Bytes::from_static(text.as_bytes())))
            .collect();
        let kept = last_lines(pieces, lines);
        kept.iter()
            .map(|(_, data)| String::from_utf8_lossy(data).into_owned())
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
