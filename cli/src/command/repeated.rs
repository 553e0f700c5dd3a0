//! A command whose id was used before: this process goes on with the one that was started then.

use baton_core_client::{Client, Event};

use super::logs::print_to_the_end;
use super::{Ending, Following, follow};
use crate::error::CliError;
use crate::event_json::EventDetails;
use crate::raw_terminal::line_start;

/// Follows the command that was started before: as its client if it has none, else beside it.
pub(super) async fn follow_first(
    client: &Client,
    following: Following,
    attachable: bool,
    attached: bool,
) -> Result<Ending, CliError> {
    let Following {
        run,
        stdin,
        first: _,
        mut outputs,
        mut stop,
        connection,
        mut graces,
        mut streams,
    } = following;
    let repeated = Event::Repeated { attachable, attached };
    outputs.event(repeated, EventDetails::default()).await?;
    let tell = |what: &str| {
        if !streams.form.json {
            stderr_line!(
                "{}baton: a command with this id was started before; {what}",
                line_start()
            );
        }
    };
    let Some(process) = run.id().filter(|_| attachable) else {
        tell("its output is not kept, and this waits for its exit");
        return follow(Following {
            run,
            stdin,
            first: None,
            outputs,
            stop,
            connection,
            graces,
            streams: super::Streams {
                input: false,
                ..streams
            },
        })
        .await;
    };
    if attached {
        tell("another client is attached to it, and this prints its output");
        let mut watch = client.watch(process, 0).await?;
        let watching = print_to_the_end(&mut watch, &mut outputs);
        let exit = tokio::select! {
            exit = watching => exit?,
            signal = stop.next() => return Err(CliError::Interrupted { signal }),
        };
        outputs.finish().await?;
        return exit.map(Ending::Exited).ok_or(CliError::NoExit);
    }
    tell("this is its client now");
    let (run, stdin) = client.attach(process, 0).await?;
    let run = run.on_recovery(connection.notices());
    graces.session = run.grace();
    streams.input_before = run.stdin_taken();
    follow(Following {
        run,
        stdin,
        first: None,
        outputs,
        stop,
        connection,
        graces,
        streams,
    })
    .await
}
