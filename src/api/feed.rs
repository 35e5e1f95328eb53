//! What dashboards follow: /stats as it changes, once a second, written once for all who listen.
//!
//! A listener first gets the history and the whole of /stats, then with each tick a row for the history and a merge
//! patch (RFC 7396) of what changed. While nobody listens, a tick costs a row of numbers and no JSON.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use actix_web::web::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::{sync::broadcast, time::MissedTickBehavior};

use super::{
    history::History,
    json,
    places::{Place, Places},
    stats::Stats,
};
use crate::{traffic::published::Published, units::OutOfRange};

/// Time between two ticks.
const TICK: Duration = Duration::from_secs(1);
/// Ticks that a listener may be behind before it is let go. It comes back by itself and gets the whole again.
const BEHIND: usize = 8;

/// `[monitor]`: what dashboards get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Most streams at once; one more is answered 503.
    pub streams: usize,
    /// How far back a dashboard sees when it is opened.
    #[serde(with = "humantime_serde")]
    pub history: Duration,
}

impl Settings {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless(
            self.streams <= 10_000,
            "monitor.streams",
            "at most 10000",
            self.streams,
        )?;
        OutOfRange::unless_between(
            "monitor.history",
            Duration::from_secs(10),
            self.history,
            Duration::from_secs(3600),
        )
    }
}

/// Tells all who listen what changes.
#[derive(Debug)]
pub struct Feed {
    published: Arc<Published>,
    places: Arc<Places>,
    // a std mutex: locked once a second and when somebody begins to listen, never across an await
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    history: History,
    /// What listeners know of /stats; none while nobody listens.
    told: Option<Value>,
    /// What a new listener gets, if it was written since the last tick.
    opening: Option<Bytes>,
    /// None once the process is draining.
    ticks: Option<broadcast::Sender<Bytes>>,
}

/// One who listens. Dropped, its place is free.
#[derive(Debug)]
pub(super) struct Listener {
    opening: Option<Bytes>,
    ticks: broadcast::Receiver<Bytes>,
    place: Place,
}

/// Why somebody cannot listen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unheard {
    /// Too many listen.
    #[error("too many dashboards are open: close one, or raise monitor.streams")]
    Full,
    /// The process takes no new work.
    #[error("the process is draining")]
    Draining,
}

impl Feed {
    /// A feed that ticks for as long as somebody holds it. Call it inside an actix system.
    pub fn start(settings: &Settings, published: Arc<Published>) -> Arc<Self> {
        let rows = settings.history.as_secs() / TICK.as_secs();
        let history = History::new(
            usize::try_from(rows).unwrap_or(usize::MAX),
            &published,
            Instant::now(),
        );
        let feed = Arc::new(Self {
            published,
            places: Places::new(settings.streams),
            state: Mutex::new(State {
                history,
                told: None,
                opening: None,
                ticks: Some(broadcast::Sender::new(BEHIND)),
            }),
        });
        let weak = Arc::downgrade(&feed);
        actix_rt::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match weak.upgrade() {
                    Some(feed) => feed.tick(Instant::now()),
                    None => return,
                }
            }
        });
        feed
    }

    /// Begins to listen, for a client at this address.
    ///
    /// # Errors
    ///
    /// [`Unheard`] if there is no place.
    pub(super) fn listen(&self, address: IpAddr) -> Result<Listener, Unheard> {
        let place = self.places.take(address).ok_or(Unheard::Full)?;
        let mut state = self.state();
        let state = &mut *state;
        let ticks = state.ticks.as_ref().ok_or(Unheard::Draining)?.subscribe();
        let opening = state.opening.get_or_insert_with(|| {
            let told = state
                .told
                .get_or_insert_with(|| json(&Stats::of(&self.published)));
            let history = serde_json::to_string(&state.history).unwrap_or_default();
            // how soon a browser comes back by itself, in milliseconds
            format!(
                "retry: 1000\n\n{}{}",
                event("history", history),
                event("stats", told)
            )
            .into()
        });
        Ok(Listener {
            opening: Some(opening.clone()),
            ticks,
            place,
        })
    }

    fn tick(&self, now: Instant) {
        let mut state = self.state();
        let row = state.history.record(&self.published, now);
        state.opening = None;
        if self.published.is_draining() {
            // the streams end, so that nothing waits for them
            state.ticks = None;
        }
        let Some(ticks) = &state.ticks else { return };
        if ticks.receiver_count() == 0 {
            state.told = None;
            return;
        }
        let stats = json(&Stats::of(&self.published));
        let change = state
            .told
            .as_ref()
            .map_or_else(|| stats.clone(), |told| patch(told, &stats));
        let row = serde_json::to_string(&row).unwrap_or_default();
        // nobody there any more: no harm
        _ = ticks.send(format!("{}{}", event("row", row), event("change", change)).into());
        state.told = Some(stats);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// The next piece of the stream; none at its end: the process is draining, this one was too slow, or its place
    /// went to somebody else.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let piece = match self.opening.take() {
            Some(opening) => Some(opening),
            None => self.ticks.recv().await.ok(),
        };
        piece.filter(|_| !self.place.is_lost())
    }
}

/// An event as a browser reads it. JSON has no line breaks of its own.
fn event(name: &str, data: impl std::fmt::Display) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// What makes `to` of `from` (RFC 7396). A member that became null is told as one that is gone.
fn patch(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return to.clone();
    };
    let changed = to.iter().filter_map(|(key, value)| match from.get(key) {
        Some(old) if old == value => None,
        Some(old) if value.is_object() => Some((key.clone(), patch(old, value))),
        None if value.is_null() => None,
        _ => Some((key.clone(), value.clone())),
    });
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), Value::Null));
    Value::Object(changed.chain(gone).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_says_what_changed_and_nothing_else() {
        for (from, to, patch_of_it) in [
            (
                json!({"a": 1, "b": 2}),
                json!({"a": 1, "b": 3}),
                json!({"b": 3}),
            ),
            (
                json!({"a": {"b": 1, "c": 2}}),
                json!({"a": {"b": 1, "c": 3}}),
                json!({"a": {"c": 3}}),
            ),
            (json!({"a": 1}), json!({"a": null}), json!({"a": null})),
            (json!({"a": 1}), json!({}), json!({"a": null})),
            (
                json!({"a": null}),
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 1}}),
            ),
            (
                json!({"a": [1, 2]}),
                json!({"a": [1, 2, 3]}),
                json!({"a": [1, 2, 3]}),
            ),
            (json!({"a": 1}), json!({"a": 1}), json!({})),
        ] {
            assert_eq!(patch(&from, &to), patch_of_it, "{from} {to}");
        }
    }
}
