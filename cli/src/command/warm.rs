//! `baton warm`: keeps a session warm, publishes its state, and watches those of the same key.
//!
//! * here: the sources of states, and the loop that shows them;
//! * [`view`]: states as lines, as JSON, and redrawn on a terminal.

mod view;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use baton_core_client::warm::{
    BoardEvent, WarmBoard, WarmBoardError, WarmChange, WarmInterval, WarmState, WarmWatch, Warmer,
};
use baton_core_client::{Client, ConnectError, SessionError};
use baton_trace::recorder::Recorder;
use baton_trace::text::counted;
use baton_trace::w3c::random_bits;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Interval, interval, sleep};

use self::view::View;
use crate::args::WarmArgs;
use crate::error::CliError;
use crate::limits::{WARM_INTERVAL_DEFAULT, WARM_UPDATES_QUEUE, WATCH_RETRY_INTERVAL};
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
    let (updates, updated) = mpsc::channel(WARM_UPDATES_QUEUE);
    let waiting = updates.clone();
    let on_waiting = move |error: &ConnectError, left: Duration| {
        // A full queue has news that is shown instead.
        let _ = waiting.try_send(Update::Waiting(error.to_string(), left));
    };
    let remote = RemoteClient::with_notice(remote, Recorder::off(), Arc::new(on_waiting))?;
    let client = remote.client.clone();
    let result = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let mut shown = Shown {
            view: View::of_stdout(json),
            own: None,
            ticks: None,
            updated,
        };
        let kept = match no_keep {
            true => None,
            false => Some(interval),
        };
        let result = tokio::select! {
            result = run(&mut tasks, client, conversation, kept, watch, updates, &mut shown) => result,
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
    /// A session takes long to establish: why, and how much longer it is tried.
    Waiting(String, Duration),
    /// A line for the user.
    Notice(String),
    /// The command cannot go on.
    Failed(WarmBoardError),
}

/// Keeps a session warm if `kept`, with this interval if it is given.
async fn run(
    tasks: &mut JoinSet<()>,
    client: Client,
    conversation: Option<String>,
    kept: Option<Option<WarmInterval>>,
    watches: bool,
    updates: mpsc::Sender<Update>,
    shown: &mut Shown,
) -> Result<(), CliError> {
    let mut warmer = None;
    if let Some(interval) = kept {
        // A client that is not allowed, or an exec-server that is not there, is an error and not a failed warm.
        tokio::select! {
            pinged = client.ping() => drop(pinged?),
            result = shown.follow() => return result,
        }
        let name = conversation
            .clone()
            .unwrap_or_else(|| format!("warm-{:08x}", random_bits() as u32));
        let interval = match interval {
            Some(interval) => interval,
            None => WARM_INTERVAL_DEFAULT.try_into().map_err(std::io::Error::other)?,
        };
        let started = Warmer::start(client.clone(), interval);
        tasks.spawn(publish(
            client.warm_board(),
            name.clone(),
            started.watch(),
            updates.clone(),
        ));
        tasks.spawn(follow_own(started.watch(), updates.clone()));
        shown.own = Some(name);
        warmer = Some(started);
    }
    if watches {
        let wanted = conversation.filter(|_| warmer.is_none());
        let warms = warmer.as_ref().map(Warmer::watch);
        tasks.spawn(follow_board(client.warm_board(), wanted, warms, updates.clone()));
    }
    shown.follow().await
}

/// The view, and what changes it.
struct Shown {
    view: View,
    /// The conversation that this command keeps warm.
    own: Option<String>,
    /// The clock of a countdown. Only a terminal has one.
    ticks: Option<Interval>,
    updated: mpsc::Receiver<Update>,
}

impl Shown {
    /// Shows changes, and the time that passes. Returns only an error. Cancellation safe, except that a change that is
    /// being drawn may be lost.
    async fn follow(&mut self) -> Result<(), CliError> {
        loop {
            let pace = self.view.redraw_interval();
            if self.ticks.as_ref().map(Interval::period) != pace {
                self.ticks = pace.map(interval);
            }
            let update = tokio::select! {
                update = self.updated.recv() => update,
                () = tick(&mut self.ticks) => {
                    self.view.redraw().await?;
                    continue;
                }
            };
            match update {
                Some(update) => self.show(update).await?,
                // Every source has ended, which they do not.
                None => pending().await,
            }
        }
    }

    async fn show(&mut self, update: Update) -> Result<(), CliError> {
        let own = self.own.as_deref();
        match update {
            Update::Own(state) => {
                let name = own.unwrap_or_default().to_owned();
                self.view.show(name, state).await
            }
            Update::Board(BoardEvent::State { conversation, .. } | BoardEvent::Removed { conversation })
                if own == Some(&*conversation) =>
            {
                Ok(())
            }
            Update::Board(BoardEvent::State { conversation, state }) => {
                self.view.show(conversation, state).await
            }
            Update::Board(BoardEvent::Removed { conversation }) => self.view.remove(&conversation).await,
            Update::Board(_) => self.view.complete().await,
            Update::Lost => self.view.retain(own).await,
            Update::Waiting(error, left) => self.view.waiting(&error, left).await,
            Update::Notice(text) => self.view.notice(&text).await,
            Update::Failed(error) => Err(error.into()),
        }
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => pending().await,
    }
}

/// Sends an update. Once nobody receives, this command ends.
async fn send(updates: &mpsc::Sender<Update>, update: Update) {
    let _ = updates.send(update).await;
}

async fn follow_own(mut states: WarmWatch, updates: mpsc::Sender<Update>) {
    while let Some(WarmChange { state, missed }) = states.next().await {
        warn_of_missed(missed, &updates).await;
        if updates.send(Update::Own(state)).await.is_err() {
            return;
        }
    }
}

async fn warn_of_missed(missed: u64, updates: &mpsc::Sender<Update>) {
    if missed > 0 {
        let changes = counted(missed, "change is", "changes are");
        let text = format!("{changes} not shown, because they came faster than they were printed");
        send(updates, Update::Notice(text)).await;
    }
}

/// Publishes the states. After a loss of the session it waits for the next successful warm, so that warming and not
/// publishing establishes the session again, and the hit percentage says so.
async fn publish(board: WarmBoard, conversation: String, states: WarmWatch, updates: mpsc::Sender<Update>) {
    let mut last_error = String::new();
    loop {
        let mut warms = states.clone();
        let error = match board.publish(conversation.as_str(), states.clone()).await {
            Ok(()) => return,
            Err(error) => error,
        };
        match &error {
            WarmBoardError::NoBoard => {
                let text =
                    format!("{error}; the state is shown here, and no other `baton warm --watch` sees it");
                return send(&updates, Update::Notice(text)).await;
            }
            WarmBoardError::Replaced(_) => {
                let text = format!("{error}; this one is no longer on the board");
                return send(&updates, Update::Notice(text)).await;
            }
            WarmBoardError::Session(_) | WarmBoardError::Connect(_) | WarmBoardError::Unavailable(_) => {}
            _ => {
                let text = error.to_string();
                if text != last_error {
                    let notice = format!("the state is not on the board: {text}");
                    send(&updates, Update::Notice(notice)).await;
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
        warn_of_missed(watched.missed() - missed, updates).await;
        missed = watched.missed();
        if updates.send(Update::Board(event)).await.is_err() {
            return WarmBoardError::Protocol("an event after the end of this command");
        }
    }
}
