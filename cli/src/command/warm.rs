//! `baton warm`: keeps a session warm, publishes its state, and watches those of the same key.
//!
//! * here: the sources of states, and the loop that shows them;
//! * [`view`]: states as lines, as JSON, and redrawn on a terminal.

mod view;

use std::future::pending;

use baton_core_client::warm::{
    BoardEvent, WarmBoard, WarmBoardError, WarmChange, WarmInterval, WarmState, WarmWatch, Warmer,
};
use baton_core_client::{Client, SessionError};
use baton_trace::recorder::Recorder;
use baton_trace::text::counted;
use baton_trace::w3c::random_bits;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use self::view::View;
use crate::args::WarmArgs;
use crate::error::CliError;
use crate::limits::{WARM_INTERVAL_DEFAULT, WARM_REDRAW_INTERVAL, WARM_UPDATES_QUEUE, WATCH_RETRY_INTERVAL};
use crate::remote::RemoteClient;
use crate::runtime::runtime;
use crate::{logging, signals};

pub(crate) fn main(args: WarmArgs) -> Result<i32, CliError> {
    logging::errors_only();
    let WarmArgs {
        conversation,
        interval,
        watch,
        no_keep,
        json,
        remote,
    } = args;
    let runtime = runtime()?;
    let remote = RemoteClient::new(remote, Recorder::off())?;
    let client = remote.client.clone();
    let result = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let result = tokio::select! {
            result = run(&mut tasks, client, conversation, interval, watch, !no_keep, View::of_stdout(json)) => result,
            // The normal end: it runs until it is interrupted.
            _ = signals::stop() => Ok(()),
        };
        // Their calls end before the session, which would otherwise be logged as cut short.
        tasks.shutdown().await;
        remote.client.close().await;
        result
    });
    // Dropping the runtime would wait for a blocked write of standard output.
    runtime.shutdown_background();
    result.map_err(|error| remote.explain(error)).map(|()| 0)
}

/// A change that is to be shown.
enum Update {
    Own(WarmState),
    Board(BoardEvent),
    /// The watch has ended. Nothing is known about other conversations any more.
    Lost,
    /// The command cannot go on.
    Failed(WarmBoardError),
}

async fn run(
    tasks: &mut JoinSet<()>,
    client: Client,
    conversation: Option<String>,
    interval: Option<WarmInterval>,
    watches: bool,
    keeps: bool,
    mut view: View,
) -> Result<(), CliError> {
    let (updates, mut updated) = mpsc::channel(WARM_UPDATES_QUEUE);
    let mut kept = None;
    if keeps {
        // A client that is not allowed, or an exec-server that is not there, is an error and not a failed warm.
        client.ping().await?;
        let name = conversation
            .clone()
            .unwrap_or_else(|| format!("warm-{:08x}", random_bits() as u32));
        let interval = match interval {
            Some(interval) => interval,
            None => WARM_INTERVAL_DEFAULT.try_into().map_err(std::io::Error::other)?,
        };
        let warmer = Warmer::start(client.clone(), interval);
        tasks.spawn(publish(client.warm_board(), name.clone(), warmer.watch()));
        tasks.spawn(follow_own(warmer.watch(), updates.clone()));
        kept = Some((name, warmer));
    }
    if watches {
        let wanted = conversation.filter(|_| !keeps);
        let warms = kept.as_ref().map(|(_, warmer)| warmer.watch());
        tasks.spawn(follow_board(client.warm_board(), wanted, warms, updates));
    }
    let own = kept.as_ref().map(|(name, _)| &**name);
    let mut ticks = interval_of(&view);
    loop {
        let update = tokio::select! {
            update = updated.recv() => update,
            () = tick(&mut ticks) => {
                view.redraw().await?;
                continue;
            }
        };
        match update {
            Some(Update::Own(state)) => {
                let name = own.unwrap_or_default().to_owned();
                view.show(name, state).await?;
            }
            Some(Update::Board(BoardEvent::State { conversation, state })) => {
                if own != Some(&*conversation) {
                    view.show(conversation, state).await?;
                }
            }
            Some(Update::Board(BoardEvent::Removed { conversation })) => {
                if own != Some(&*conversation) {
                    view.remove(&conversation).await?;
                }
            }
            Some(Update::Board(_)) => view.redraw().await?,
            Some(Update::Lost) => view.retain(own).await?,
            Some(Update::Failed(error)) => return Err(error.into()),
            // Every source has ended, which they do not.
            None => pending().await,
        }
    }
}

/// The clock of a countdown. Only a terminal has one.
fn interval_of(view: &View) -> Option<tokio::time::Interval> {
    view.is_drawn().then(|| interval(WARM_REDRAW_INTERVAL))
}

async fn tick(ticks: &mut Option<tokio::time::Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => pending().await,
    }
}

async fn follow_own(mut states: WarmWatch, updates: mpsc::Sender<Update>) {
    while let Some(WarmChange { state, missed }) = states.next().await {
        warn_of_missed(missed);
        if updates.send(Update::Own(state)).await.is_err() {
            return;
        }
    }
}

fn warn_of_missed(missed: u64) {
    if missed > 0 {
        let changes = counted(missed, "change is", "changes are");
        stderr_line!("baton: {changes} not shown, because they came faster than they were printed");
    }
}

/// Publishes the states. After a loss of the session it waits for the next successful warm, so that warming and not
/// publishing establishes the session again, and the hit percentage says so.
async fn publish(board: WarmBoard, conversation: String, states: WarmWatch) {
    let mut last_error = String::new();
    loop {
        let mut warms = states.clone();
        let error = match board.publish(conversation.as_str(), states.clone()).await {
            Ok(()) => return,
            Err(error) => error,
        };
        match &error {
            WarmBoardError::NoBoard => {
                stderr_line!(
                    "baton: {error}; the state is shown here, and no other `baton warm --watch` sees it"
                );
                return;
            }
            WarmBoardError::Replaced(_) => {
                stderr_line!("baton: {error}; this one is no longer on the board");
                return;
            }
            WarmBoardError::Session(_) | WarmBoardError::Connect(_) | WarmBoardError::Unavailable(_) => {}
            _ => {
                let text = error.to_string();
                if text != last_error {
                    stderr_line!("baton: the state is not on the board: {text}");
                    last_error = text;
                }
            }
        }
        if !next_success(&mut warms).await {
            return;
        }
    }
}

/// Waits for the next successful warm. `false`: the warmer has ended.
async fn next_success(states: &mut WarmWatch) -> bool {
    let mut before = None;
    while let Some(WarmChange { state, .. }) = states.next().await {
        let warms = (state.last_warm_at, state.history);
        let is_success = state.last_result.is_some_and(|result| result.error().is_none());
        if is_success && before.as_ref().is_some_and(|before| *before != warms) {
            return true;
        }
        before = Some(warms);
    }
    false
}

/// Follows the board, and begins again after a loss of the session: with `warms` after the next successful one.
async fn follow_board(
    board: WarmBoard,
    wanted: Option<String>,
    warms: Option<WarmWatch>,
    updates: mpsc::Sender<Update>,
) {
    loop {
        let mut after = warms.clone();
        let error = follow_board_once(&board, wanted.as_deref(), &updates).await;
        let update = match (&error, &warms) {
            // Publishing says so.
            (WarmBoardError::NoBoard, Some(_)) => return,
            (WarmBoardError::Session(SessionError::NotAllowed), None) => Update::Failed(error),
            (WarmBoardError::Session(_) | WarmBoardError::Unavailable(_), _) | (_, Some(_)) => Update::Lost,
            _ => Update::Failed(error),
        };
        if updates.send(update).await.is_err() {
            return;
        }
        match &mut after {
            Some(warms) => {
                if !next_success(warms).await {
                    return;
                }
            }
            None => sleep(WATCH_RETRY_INTERVAL).await,
        }
    }
}

async fn follow_board_once(
    board: &WarmBoard,
    wanted: Option<&str>,
    updates: &mpsc::Sender<Update>,
) -> WarmBoardError {
    let mut watched = match board.watch(wanted).await {
        Ok(watched) => watched,
        Err(error) => return error,
    };
    let mut missed = 0;
    loop {
        let event = match watched.next().await {
            Ok(event) => event,
            Err(error) => return error,
        };
        warn_of_missed(watched.missed() - missed);
        missed = watched.missed();
        if updates.send(Update::Board(event)).await.is_err() {
            return WarmBoardError::Protocol("an event after the end of this command");
        }
    }
}
