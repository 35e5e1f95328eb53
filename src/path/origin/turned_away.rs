//! Requests and parts that the origin refuses while bodies are fetched in parts.
//!
//! An origin that limits connections or requests by address sees one address for all clients. A request that it refuses while parts
//! are under way might have succeeded through a plain proxy: so the parts are given up, and the request is sent again.

use std::time::{Duration, Instant};

use actix_http::{Method, StatusCode};
use awc::FrozenClientRequest;

use super::{
    connector::Beside, exchange::Answered, fetch_error::FetchError, slots::Slot, target::target_of,
    worker::Origin,
};
use crate::traffic::tuning::Tuning;

/// Delays before a refused request is sent again: the origin must first notice that connections were closed.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
];

/// Whether a refusal may be due to the number of connections or requests: 429 and 503 mean that, file hosts send 403, and some
/// servers do not accept the connection.
fn turned_away(sent: &Result<Answered, FetchError>) -> bool {
    match sent {
        Ok(sent) => matches!(
            sent.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::FORBIDDEN
        ),
        Err(error) => error.is_unreachable(),
    }
}

/// Whether it is a 403, the one of these that is seldom due to the number of requests.
fn is_forbidden(sent: &Result<Answered, FetchError>) -> bool {
    matches!(sent, Ok(sent) if sent.status == StatusCode::FORBIDDEN)
}

impl Origin {
    /// As [`Connector::exchange`](super::connector::Connector::exchange); a GET or HEAD that is refused while parts are under way
    /// is sent again after they were given up.
    ///
    /// # Errors
    ///
    /// [`FetchError`], with its cause.
    pub(super) async fn exchange_beside_parts(
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
        if !turned_away(&sent) || !self.parts_under_way().is_there(Instant::now()) {
            return sent;
        }
        if !is_plain {
            if !is_forbidden(&sent) {
                self.parts_under_way().make_room(Instant::now());
            }
            return sent;
        }
        // Boxed, because it is rare.
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
            self.parts_under_way().clear().await;
            let wait = pause + self.round_trip() * 2;
            if Instant::now() + wait >= deadline {
                return sent;
            }
            // The refused request's connection counts at the origin, too.
            drop(sent);
            tokio::time::sleep(wait).await;
            state.counters.crowded_out.increment();
            // It counts for the rate limit, but is not delayed by it: it was admitted already.
            _ = state.gate.admit_spare(Instant::now());
            sent = self
                .connector
                .exchange(head, Beside::default(), tuning, deadline)
                .await;
            if !turned_away(&sent) {
                state.ceiling.met(most, Instant::now());
                self.parts_under_way().made_room(true);
                tracing::info!(
                    most,
                    "the origin turned a request away while bodies came in parts, fewer are asked for from now on"
                );
                return sent;
            }
        }
        let now = Instant::now();
        state.tolerance.turned_away_by_itself(&target, now);
        self.parts_under_way().made_room(false);
        sent
    }

    /// How many exchanges the origin accepts as it refuses one: those under way, without `refused` and the unanswered parts. Some
    /// of these will be accepted, so at least half of all.
    fn borne(&self, refused: u64) -> usize {
        let all = self.state().counters.in_use.get();
        let unanswered = self.parts_under_way().unanswered() as u64;
        all.saturating_sub(refused + unanswered).max(all / 2) as usize
    }

    /// A part was refused: the origin accepts no more than are under way.
    pub(super) fn part_turned_away(&self) {
        // It is one of the unanswered parts.
        self.state().ceiling.met(self.borne(0), Instant::now());
    }

    /// A request that continues a body was refused: parts must give way to it.
    pub(super) fn rest_turned_away(&self) {
        if self.parts_under_way().under_way() > 0 {
            let now = Instant::now();
            self.state().ceiling.met(self.borne(1), now);
            self.parts_under_way().make_room(now);
        }
    }

    /// A slot for one more part, if no request needs it and the origin is not at its limit.
    pub(super) fn slot_for_a_part(&self) -> Option<Slot> {
        let now = Instant::now();
        if !self.has_room_for_a_part(1) {
            return None;
        }
        let slot = self.try_slot()?;
        // It counts for the rate limit like any request.
        self.state().gate.admit_spare(now).then_some(slot)
    }

    /// Whether `more` additional exchanges stay below the origin's known limit.
    pub(super) fn has_room_for_a_part(&self, more: usize) -> bool {
        let now = Instant::now();
        let in_use = self.state().counters.in_use.get() as usize;
        let most = self.state().ceiling.for_parts(now);
        !self.parts_under_way().rests(now) && most.is_none_or(|most| in_use + more <= most)
    }
}
