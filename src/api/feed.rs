//! The stream for dashboards: changes of /stats once a second, serialized once for all subscribers.
//!
//! A new subscriber gets the history and all of /stats, then with each tick a history row and a merge patch (RFC 7396) with the
//! changes. Without subscribers, a tick only costs a row of numbers and no JSON.

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
    response::json,
    stats::Stats,
    stream_permits::{StreamPermit, StreamPermits},
};
use crate::{reloadable::reloadable, traffic::published::Published, units::OutOfRange};

/// Time between two ticks.
const TICK: Duration = Duration::from_secs(1);
/// Ticks for one row of the long history: 15 seconds.
const TICKS_OF_HOURS: u64 = 15;
/// Rows of the long history: six hours. A row has 264 bytes, all have 380 kB.
const HOURS: usize = 6 * 3600 / 15;
/// Ticks that a subscriber may be behind before its stream is ended. Browsers reconnect by themselves.
const BEHIND: usize = 8;

/// `[monitor]`: limits of the dashboards' stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The most streams at once; further ones are answered 503.
    pub streams: usize,
    /// Length of the history that a dashboard gets when it connects.
    #[serde(with = "humantime_serde")]
    pub history: Duration,
}

reloadable!(Settings {
    streams: AfterRestart,
    history: AfterRestart,
});

impl Settings {
    /// Checks the values.
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

/// Sends changes of /stats to all subscribers.
#[derive(Debug)]
pub struct Feed {
    published: Arc<Published>,
    permits: Arc<StreamPermits>,
    // A std mutex: locked once a second and by each new subscriber, never across an await.
    state: Mutex<FeedState>,
}

#[derive(Debug)]
struct FeedState {
    history: History,
    /// The long history, with a row for every 15 ticks.
    hours: History,
    ticked: u64,
    /// The /stats that subscribers have; none without subscribers.
    told: Option<Value>,
    /// The first message for a new subscriber; none if it was not built since the last tick.
    opening: Option<Bytes>,
    /// None once the process drains.
    ticks: Option<broadcast::Sender<Bytes>>,
}

/// One subscriber's receiver. Dropping it releases its permit.
#[derive(Debug)]
pub(super) struct Subscription {
    opening: Option<Bytes>,
    ticks: broadcast::Receiver<Bytes>,
    permit: StreamPermit,
}

/// Why a subscription was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSubscribed {
    /// There are too many subscribers.
    #[error("too many dashboards are open: close one, or raise monitor.streams")]
    Full,
    /// The process drains.
    #[error("the process is draining")]
    Draining,
}

impl Feed {
    /// A feed that ticks until its last reference is dropped. Call it inside an actix system.
    pub fn start(settings: &Settings, published: Arc<Published>) -> Arc<Self> {
        let rows = settings.history.as_secs() / TICK.as_secs();
        let history = History::new(
            usize::try_from(rows).unwrap_or(usize::MAX),
            &published,
            Instant::now(),
        );
        let hours = History::new(HOURS, &published, Instant::now());
        let feed = Arc::new(Self {
            published,
            permits: StreamPermits::new(settings.streams),
            state: Mutex::new(FeedState {
                history,
                hours,
                ticked: 0,
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

    /// Subscribes a client at this address.
    ///
    /// # Errors
    ///
    /// [`NotSubscribed`] if there are too many subscribers, or the process drains.
    pub(super) fn subscribe(&self, address: IpAddr) -> Result<Subscription, NotSubscribed> {
        let permit = self.permits.acquire(address).ok_or(NotSubscribed::Full)?;
        let mut state = self.state();
        let state = &mut *state;
        let ticks = state
            .ticks
            .as_ref()
            .ok_or(NotSubscribed::Draining)?
            .subscribe();
        let opening = state.opening.get_or_insert_with(|| {
            let told = state
                .told
                .get_or_insert_with(|| json(&Stats::of(&self.published)));
            let history = serde_json::to_string(&state.history).unwrap_or_default();
            // `retry`: delay before a browser reconnects, in milliseconds.
            format!(
                "retry: 1000\n\n{}{}",
                event("history", history),
                event("stats", told)
            )
            .into()
        });
        Ok(Subscription {
            opening: Some(opening.clone()),
            ticks,
            permit,
        })
    }

    /// The long history.
    pub(super) fn hours(&self) -> History {
        self.state().hours.clone()
    }

    fn tick(&self, now: Instant) {
        let mut state = self.state();
        let row = state.history.record(&self.published, now);
        state.opening = None;
        state.ticked += 1;
        if state.ticked.is_multiple_of(TICKS_OF_HOURS) {
            state.hours.record(&self.published, now);
        }
        if self.published.is_draining() {
            // Ends the streams, so that the drain does not wait for them.
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
        // An error means that the last subscriber has left.
        _ = ticks.send(format!("{}{}", event("row", row), event("change", change)).into());
        state.told = Some(stats);
    }

    fn state(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// The next message of the stream. None at its end: the process drains, the subscriber was too slow, or its permit was revoked.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let piece = match self.opening.take() {
            Some(opening) => Some(opening),
            None => self.ticks.recv().await.ok(),
        };
        piece.filter(|_| !self.permit.is_revoked())
    }
}

/// A server-sent event. `data` must be a single line of JSON.
fn event(name: &str, data: impl std::fmt::Display) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// The merge patch that turns `from` into `to` (RFC 7396). It cannot distinguish null from a missing member.
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
