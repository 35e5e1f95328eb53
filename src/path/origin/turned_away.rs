//! What the origin turns away while bodies come in parts: the request that could not be made for the parts, and the parts.
//!
//! An origin that limits connections or requests by address sees one address for all clients. Whom it turns away while
//! parts are under way, a plain proxy might have got through: the parts are given up, and the request is made again.

use std::time::{Duration, Instant};

use actix_http::{Method, StatusCode};
use awc::FrozenClientRequest;

use super::{
    connector::Beside, exchange::Answered, fetch_error::FetchError, slots::Slot, target::target_of,
    worker::Origin,
};
use crate::traffic::tuning::Tuning;

/// Waits before a request that was turned away is made again: the origin must notice first that connections closed.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
];

/// Whether the origin turns a request away for reasons that may lie in how many it has: 429 and 503 say so, file hosts
/// say 403, and some do not even accept.
fn turned_away(sent: &Result<Answered, FetchError>) -> bool {
    match sent {
        Ok(sent) => matches!(
            sent.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::FORBIDDEN
        ),
        Err(error) => error.is_unreachable(),
    }
}

/// Whether it is the one refusal of these that seldom has to do with how many there are.
fn is_forbidden(sent: &Result<Answered, FetchError>) -> bool {
    matches!(sent, Ok(sent) if sent.status == StatusCode::FORBIDDEN)
}

impl Origin {
    /// Sends a request and waits for the response head, as [`Connector::exchange`](super::connector::Connector::exchange) does. One that is turned away while
    /// parts are under way goes out again once they were given up, where nothing is lost by that: a GET or a HEAD.
    ///
    /// # Errors
    ///
    /// [`FetchError`], with its cause.
    pub(super) async fn exchange_in_a_crowd(
        &self,
        head: &FrozenClientRequest,
        beside: Beside,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Answered, FetchError> {
        let is_plain =
            beside.upload.is_none() && matches!(*head.get_method(), Method::GET | Method::HEAD);
        let sent = self
            .connector
            .exchange(head, beside, tuning, deadline)
            .await;
        if !turned_away(&sent) || !self.crowd().is_there(Instant::now()) {
            return sent;
        }
        if !is_plain {
            if !is_forbidden(&sent) {
                self.crowd().make_room(Instant::now());
            }
            return sent;
        }
        // Boxed, as it is seldom taken.
        Box::pin(self.exchange_again(head, sent, tuning, deadline)).await
    }

    async fn exchange_again(
        &self,
        head: &FrozenClientRequest,
        mut sent: Result<Answered, FetchError>,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Answered, FetchError> {
        let state = self.state();
        let target = target_of(head);
        if state
            .tolerance
            .turns_away_by_itself(&target, Instant::now())
        {
            return sent;
        }
        let most = self.borne(1);
        for pause in PAUSES {
            self.crowd().clear().await;
            let wait = pause + self.round_trip() * 2;
            if Instant::now() + wait >= deadline {
                return sent;
            }
            // The refusal's own connection counts at the origin, too.
            drop(sent);
            tokio::time::sleep(wait).await;
            state.counters.crowded_out.increment();
            // It counts at the rate limit, and is not held up by it: its turn has come.
            _ = state.gate.admit_spare(Instant::now());
            sent = self
                .connector
                .exchange(head, Beside::default(), tuning, deadline)
                .await;
            if !turned_away(&sent) {
                state.ceiling.met(most, Instant::now());
                self.crowd().made_room(true);
                tracing::info!(
                    most,
                    "the origin turned a request away while bodies came in parts, fewer are asked for from now on"
                );
                return sent;
            }
        }
        let now = Instant::now();
        state.tolerance.turned_away_by_itself(&target, now);
        self.crowd().made_room(false);
        sent
    }

    /// How many exchanges the origin goes on with as it turns one away: those under way, without `refused` and the parts
    /// that it has not answered. Of these some will be given, so at least half of all.
    fn borne(&self, refused: u64) -> usize {
        let all = self.state().counters.in_use.get();
        let unanswered = self.crowd().unanswered() as u64;
        all.saturating_sub(refused + unanswered).max(all / 2) as usize
    }

    /// A part was turned away: the origin bears no more than there are.
    pub(super) fn part_turned_away(&self) {
        // It is one of those that are not answered.
        self.state().ceiling.met(self.borne(0), Instant::now());
    }

    /// What continues a body was turned away: parts must not keep it from going on.
    pub(super) fn rest_turned_away(&self) {
        if self.crowd().under_way() > 0 {
            let now = Instant::now();
            self.state().ceiling.met(self.borne(1), now);
            self.crowd().make_room(now);
        }
    }

    /// A slot for one more part, which nobody else needs, and for which the origin has room.
    pub(super) fn slot_for_a_part(&self) -> Option<Slot> {
        let now = Instant::now();
        if !self.has_room_for_a_part(1) {
            return None;
        }
        let slot = self.try_slot()?;
        // One more request for the origin, like any other.
        self.state().gate.admit_spare(now).then_some(slot)
    }

    /// Whether `more` exchanges with parts leave room beneath what the origin is known to bear.
    pub(super) fn has_room_for_a_part(&self, more: usize) -> bool {
        let now = Instant::now();
        let in_use = self.state().counters.in_use.get() as usize;
        let most = self.state().ceiling.for_parts(now);
        !self.crowd().rests(now) && most.is_none_or(|most| in_use + more <= most)
    }
}
