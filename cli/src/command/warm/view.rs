//! States as lines of text, as JSON, and redrawn on a terminal with a countdown.
//!
//! Conversations and errors come from other clients through the exec-server: control characters are removed from text
//! and escaped in JSON.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use baton_core_client::warm::{WarmResult, WarmState, WarmTrigger};
use baton_trace::record::unix_now_ns;
use baton_trace::report::units::duration;
use baton_trace::text::printable;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::CliError;
use crate::limits::{WARM_REDRAW_INTERVAL, WARM_SHORT_INTERVAL, WARM_SHORT_REDRAW_INTERVAL};
use crate::record;
use crate::stdio::{now, page_beside};
use crate::table::cut;

/// The size of a terminal that does not tell its own.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// The conversations that are shown, and how.
pub(super) struct View {
    format: Format,
    states: BTreeMap<String, WarmState>,
    /// Whether the states are those of a session, and not only the last that were known.
    is_connected: bool,
    waiting: Option<Waiting>,
    /// Lines on the terminal that the next drawing replaces.
    drawn: usize,
}

/// A session takes long to establish.
struct Waiting {
    error: String,
    until: Instant,
}

impl Waiting {
    /// The notice, until the time is over. The countdown is first, because a long error is cut.
    fn line(&self, now: Instant) -> Option<String> {
        let left = self.until.checked_duration_since(now)?;
        let left = left.as_millis().div_ceil(1_000);
        Some(format!("trying for {left} s more: {}", self.error))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// One JSON object per change.
    Json,
    /// One line per change.
    Lines,
    /// One line per conversation, redrawn.
    Drawn,
}

impl View {
    pub(super) fn of_stdout(json: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let format = match json {
            true => Format::Json,
            false if std::io::stdout().is_terminal() && !is_dumb => Format::Drawn,
            false => Format::Lines,
        };
        Self {
            format,
            states: BTreeMap::new(),
            is_connected: false,
            waiting: None,
            drawn: 0,
        }
    }

    /// How often to redraw it as time passes, if it has a countdown.
    pub(super) fn redraw_interval(&self) -> Option<Duration> {
        let has_short = self.states.values().any(is_short);
        (self.format == Format::Drawn).then_some(match has_short {
            true => WARM_SHORT_REDRAW_INTERVAL,
            false => WARM_REDRAW_INTERVAL,
        })
    }

    /// Shows why there is no session yet, until there is news or the time is over.
    pub(super) async fn waiting(&mut self, error: &str, left: Duration) -> Result<(), CliError> {
        let error = printable(error).into_owned();
        if self.format != Format::Drawn {
            stderr_line!("baton: {error}; trying for {} s more", left.as_secs());
            return Ok(());
        }
        let until = Instant::now() + left;
        self.waiting = Some(Waiting { error, until });
        self.redraw().await
    }

    /// Prints a line on standard error, above the drawing if there is one.
    pub(super) async fn notice(&mut self, text: &str) -> Result<(), CliError> {
        if self.drawn > 0 {
            let erased = format!("\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
            page_beside(erased).await?;
        }
        stderr_line!("baton: {text}");
        self.redraw().await
    }

    /// Every conversation that was on the board when the watch began has been shown.
    pub(super) async fn complete(&mut self) -> Result<(), CliError> {
        self.connected();
        self.redraw().await
    }

    fn connected(&mut self) {
        self.is_connected = true;
        self.waiting = None;
    }

    /// Shows a state, unless it is shown already.
    pub(super) async fn show(&mut self, conversation: String, state: WarmState) -> Result<(), CliError> {
        self.connected();
        if self.states.get(&conversation) == Some(&state) {
            return Ok(());
        }
        let text = match self.format {
            Format::Json => record::line(&json(&conversation, &state)),
            Format::Lines => line(&conversation, &describe(&state, now_ms())),
            Format::Drawn => String::new(),
        };
        self.states.insert(conversation, state);
        self.print(text).await
    }

    /// Shows that a conversation has ended.
    pub(super) async fn remove(&mut self, conversation: &str) -> Result<(), CliError> {
        self.connected();
        if self.states.remove(conversation).is_none() {
            return Ok(());
        }
        let text = match self.format {
            Format::Json => record::line(&json_of_removed(conversation)),
            Format::Lines => line(conversation, "no longer kept warm"),
            Format::Drawn => String::new(),
        };
        self.print(text).await
    }

    /// Removes all conversations but this one.
    pub(super) async fn retain(&mut self, own: Option<&str>) -> Result<(), CliError> {
        let others: Vec<_> = self
            .states
            .keys()
            .filter(|name| own != Some(&***name))
            .cloned()
            .collect();
        for other in others {
            self.remove(&other).await?;
        }
        self.is_connected = false;
        self.redraw().await
    }

    async fn print(&mut self, text: String) -> Result<(), CliError> {
        match self.format {
            Format::Drawn => self.redraw().await,
            Format::Json | Format::Lines => page_beside(text).await,
        }
    }

    /// Draws the countdowns again, on a terminal.
    pub(super) async fn redraw(&mut self) -> Result<(), CliError> {
        if self.format != Format::Drawn {
            return Ok(());
        }
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (columns, rows) = size.map_or((COLUMNS, ROWS), |size| (size.ws_col.into(), size.ws_row.into()));
        let waiting = self
            .waiting
            .as_ref()
            .and_then(|waiting| waiting.line(Instant::now()));
        let lines = match (self.states.is_empty(), waiting) {
            (true, Some(waiting)) => vec![cut(&waiting, columns)],
            (true, None) if !self.is_connected => vec![cut("connecting", columns)],
            (_, waiting) => {
                let rows = rows - usize::from(waiting.is_some() && rows > 2);
                let mut lines = lines(&self.states, columns, rows, now_ms());
                lines.extend(waiting.map(|waiting| cut(&waiting, columns)));
                lines
            }
        };
        let mut text = match self.drawn {
            0 => String::new(),
            drawn => format!("\x1b[{drawn}A"),
        };
        for line in &lines {
            text.push_str(&format!("\r\x1b[K{line}\n"));
        }
        // Lines that the drawing before had in addition.
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        page_beside(text).await
    }
}

fn now_ms() -> u64 {
    unix_now_ns() / 1_000_000
}

/// One line of a log.
fn line(conversation: &str, text: &str) -> String {
    format!("{} {}: {text}\n", now(), printable(conversation))
}

/// One line for each conversation, as many as the terminal has room for.
fn lines(states: &BTreeMap<String, WarmState>, columns: usize, rows: usize, now_ms: u64) -> Vec<String> {
    if states.is_empty() {
        return vec![cut("no conversation of this key is kept warm", columns)];
    }
    // The cursor is on a line of its own.
    let room = rows.saturating_sub(1).max(1);
    let shown = match states.len() > room {
        true => room - 1,
        false => states.len(),
    };
    let text = |(name, state): (&String, &WarmState)| {
        let name = cut(&printable(name), columns / 3);
        cut(&format!("{name}  {}", describe(state, now_ms)), columns)
    };
    let mut lines: Vec<_> = states.iter().take(shown).map(text).collect();
    if shown < states.len() {
        lines.push(cut(&format!("and {} more", states.len() - shown), columns));
    }
    lines
}

/// The state as a sentence without its conversation.
fn describe(state: &WarmState, now_ms: u64) -> String {
    let next = match state.next_warm_at {
        _ if state.active => "a call is running".to_owned(),
        _ if !state.enabled => "off".to_owned(),
        Some(at) if at > now_ms => format!("next warm in {}", countdown(at - now_ms, is_short(state))),
        _ => "warming".to_owned(),
    };
    let last = match (state.history.last(), &state.last_result) {
        (Some(last), Some(result)) => {
            let ago = match now_ms.saturating_sub(last.at) {
                0..1_000 => "now".to_owned(),
                ms => format!("{} ago", seconds(ms - ms % 1_000)),
            };
            match result {
                WarmResult::Warmed { hit } => {
                    let ns = u64::try_from(last.duration.as_nanos()).unwrap_or(u64::MAX);
                    format!("warmed {ago}, hit {} %, in {}", hit.get(), duration(ns, false))
                }
                WarmResult::Failed { error } => format!("failed {ago}: {}", printable(error)),
            }
        }
        _ => "not warmed yet".to_owned(),
    };
    format!("{next}; {last}; every {}", seconds(state.interval.as_millis()))
}

/// Whether whole seconds are too coarse for its countdown.
fn is_short(state: &WarmState) -> bool {
    state.interval.as_duration() < WARM_SHORT_INTERVAL
}

/// The time until the next warm, rounded up to a second, or to a tenth of one.
fn countdown(ms: u64, is_short: bool) -> String {
    let tenths = ms.div_ceil(100);
    match is_short {
        true => format!("{}.{} s", tenths / 10, tenths % 10),
        false => seconds(ms.next_multiple_of(1_000)),
    }
}

/// Milliseconds for a person: rounded up to seconds, or to a larger unit.
fn seconds(ms: u64) -> String {
    match ms.div_ceil(1_000) {
        _ if ms < 1_000 => format!("{ms} ms"),
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3_600)),
    }
}

/// A state with exactly the documented keys.
fn json(conversation: &str, state: &WarmState) -> Value {
    let result = |result: &WarmResult| {
        json!({
            "ok": result.error().is_none(),
            "hit_percent": result.hit().map(|hit| hit.get()),
            "error": result.error(),
        })
    };
    let history: Vec<_> = state
        .history
        .iter()
        .map(|warm| {
            json!({
                "at": warm.at,
                "trigger": match warm.trigger {
                    WarmTrigger::Automatic => "automatic",
                    WarmTrigger::Manual => "manual",
                },
                "duration_ms": u64::try_from(warm.duration.as_millis()).unwrap_or(u64::MAX),
                "result": result(&warm.result),
            })
        })
        .collect();
    json!({
        "conversation": conversation,
        "enabled": state.enabled,
        "interval": state.interval.as_millis(),
        "active": state.active,
        "next_warm_at": state.next_warm_at,
        "last_warm_at": state.last_warm_at,
        "last_result": state.last_result.as_ref().map(result),
        "history": history,
    })
}

/// The same keys for a conversation that has ended.
fn json_of_removed(conversation: &str) -> Value {
    json!({
        "conversation": conversation,
        "enabled": null,
        "interval": null,
        "active": null,
        "next_warm_at": null,
        "last_warm_at": null,
        "last_result": null,
        "history": [],
    })
}

#[cfg(test)]
mod tests {
    use baton_core_client::warm::{HitPercent, WarmRecord};
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    fn state() -> WarmState {
        WarmState {
            enabled: true,
            interval: Duration::from_secs(30).try_into().unwrap(),
            active: false,
            next_warm_at: Some(30_000),
            last_warm_at: None,
            last_result: None,
            history: Vec::new(),
            change: 0,
        }
    }

    fn warmed(result: WarmResult) -> WarmState {
        WarmState {
            last_result: Some(result.clone()),
            history: vec![WarmRecord {
                at: 10_000,
                trigger: WarmTrigger::Automatic,
                result,
                duration: Duration::from_millis(3),
            }],
            ..state()
        }
    }

    #[test]
    fn a_countdown_reaches_zero_and_then_it_warms() {
        for (now_ms, text) in [
            (0, "next warm in 30 s"),
            (29_001, "next warm in 1 s"),
            (30_000, "warming"),
        ] {
            assert_eq!(
                describe(&state(), now_ms),
                format!("{text}; not warmed yet; every 30 s")
            );
        }
        let active = WarmState {
            active: true,
            next_warm_at: None,
            ..state()
        };
        assert!(describe(&active, 0).starts_with("a call is running; "));
        let off = WarmState {
            enabled: false,
            next_warm_at: None,
            ..state()
        };
        assert!(describe(&off, 0).starts_with("off; "));
    }

    #[test]
    fn a_short_interval_is_counted_in_tenths_of_a_second() {
        let state = WarmState {
            interval: Duration::from_millis(500).try_into().unwrap(),
            next_warm_at: Some(1_000),
            ..state()
        };
        for (now_ms, left) in [(500, "0.5 s"), (501, "0.5 s"), (899, "0.2 s"), (999, "0.1 s")] {
            let expected = format!("next warm in {left}; not warmed yet; every 500 ms");
            assert_eq!(describe(&state, now_ms), expected);
        }
        let mut view = View {
            format: Format::Drawn,
            ..View::of_stdout(true)
        };
        assert_eq!(view.redraw_interval(), Some(WARM_REDRAW_INTERVAL));
        view.states.insert("a".into(), state);
        assert_eq!(view.redraw_interval(), Some(WARM_SHORT_REDRAW_INTERVAL));
    }

    #[test]
    fn a_notice_counts_down_and_goes_when_its_time_is_over() {
        let begun = Instant::now();
        let waiting = Waiting {
            error: "cannot reach the relay".into(),
            until: begun + Duration::from_secs(29),
        };
        let at = |ms| waiting.line(begun + Duration::from_millis(ms));
        let expected = |left| Some(format!("trying for {left} s more: cannot reach the relay"));
        assert_eq!([at(0), at(100), at(28_500)], [29, 29, 1].map(expected));
        assert_eq!(at(29_001), None);
    }

    #[tokio::test]
    async fn news_ends_a_notice() {
        let mut view = View::of_stdout(true);
        view.waiting = Some(Waiting {
            error: "cannot reach the relay".into(),
            until: Instant::now() + Duration::from_secs(29),
        });
        view.complete().await.unwrap();
        assert!(view.waiting.is_none() && view.is_connected);
    }

    #[test]
    fn the_last_warm_is_shown_with_its_age_and_without_control_characters() {
        let hit = WarmResult::Warmed { hit: HitPercent::ALL };
        assert_eq!(
            describe(&warmed(hit), 12_500),
            "next warm in 18 s; warmed 2 s ago, hit 100 %, in 3.0 ms; every 30 s"
        );
        let failed = WarmResult::Failed {
            error: "gone\x1b[2J".into(),
        };
        assert!(describe(&warmed(failed.clone()), 0).contains("failed now: gone[2J;"));
        let line = record::line(&json("a\u{9b}", &warmed(failed)));
        assert!(!line.trim_end().contains(char::is_control), "{line}");
    }

    #[test]
    fn a_drawing_fits_the_terminal() {
        let states: BTreeMap<_, _> = (0..50)
            .map(|n| (format!("{n}-{}", "世".repeat(80)), state()))
            .collect();
        let lines = lines(&states, 40, 10, 0);
        assert_eq!(lines.len(), 9);
        assert!(lines.iter().all(|line| line.width() <= 40), "{lines:?}");
        assert_eq!(lines[8], "and 42 more");
        assert_eq!(self::lines(&BTreeMap::new(), 20, 1, 0).len(), 1);
    }

    #[test]
    fn an_object_has_exactly_the_documented_keys_also_for_a_removal() {
        let keys = |value: Value| {
            let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        let expected = [
            "active",
            "conversation",
            "enabled",
            "history",
            "interval",
            "last_result",
            "last_warm_at",
            "next_warm_at",
        ];
        assert_eq!(keys(json("a", &state())), expected);
        assert_eq!(keys(json_of_removed("a")), expected);
    }
}
