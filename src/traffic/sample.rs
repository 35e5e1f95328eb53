//! What one request was like.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{canary::split::Membership, keys::Keys, origin_id::OriginId};

/// How a request ended. Names are stable: they stand in the access log and in /stats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The whole response went out; the origin answered below 400.
    Completed,
    /// The whole response went out; the origin answered 4xx.
    Refused,
    /// The origin answered 5xx.
    OriginFailed,
    /// No connection to the origin could be made.
    ConnectFailed,
    /// The origin did not answer, or a body stood still, for longer than allowed.
    OriginTimeout,
    /// The origin's response broke, or was no HTTP.
    OriginBroken,
    /// The client left before the end.
    ClientLeft,
    /// The client sent too little or read nothing for too long, or sent what no proxy may pass on.
    ClientFault,
    /// Turned away by the rate limit.
    RateLimited,
    /// Turned away because no origin connection came free in time.
    Overloaded,
}

impl Outcome {
    /// Every outcome, in the order in which /stats lists them.
    pub const ALL: [Outcome; 10] = [
        Outcome::Completed,
        Outcome::Refused,
        Outcome::OriginFailed,
        Outcome::ConnectFailed,
        Outcome::OriginTimeout,
        Outcome::OriginBroken,
        Outcome::ClientLeft,
        Outcome::ClientFault,
        Outcome::RateLimited,
        Outcome::Overloaded,
    ];

    /// Whether the rate limit counts it as an error: a 5xx, a failed connect, a timeout or a broken body of the
    /// origin. A 4xx or a client that left is not.
    pub fn is_origin_error(self) -> bool {
        matches!(
            self,
            Outcome::OriginFailed
                | Outcome::ConnectFailed
                | Outcome::OriginTimeout
                | Outcome::OriginBroken
        )
    }

    /// Whether the origin took part. A request turned away says nothing about the origin.
    pub fn reached_origin(self) -> bool {
        !matches!(
            self,
            Outcome::RateLimited | Outcome::Overloaded | Outcome::ClientFault
        )
    }

    /// The outcome's name as in logs and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Refused => "refused",
            Outcome::OriginFailed => "origin_failed",
            Outcome::ConnectFailed => "connect_failed",
            Outcome::OriginTimeout => "origin_timeout",
            Outcome::OriginBroken => "origin_broken",
            Outcome::ClientLeft => "client_left",
            Outcome::ClientFault => "client_fault",
            Outcome::RateLimited => "rate_limited",
            Outcome::Overloaded => "overloaded",
        }
    }
}

impl Sample {
    /// Whether the store answered it: it came to its end without a word from the origin.
    pub fn is_hit(&self) -> bool {
        let ended = matches!(
            self.outcome,
            Outcome::Completed | Outcome::Refused | Outcome::OriginFailed
        );
        ended && self.origin_ttfb.is_none()
    }

    /// Whether the origin took part.
    pub fn reached_origin(&self) -> bool {
        self.outcome.reached_origin() && !self.is_hit()
    }
}

/// What one request was like, made when it ended.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When the request ended.
    pub ended: Instant,
    /// How it ended.
    pub outcome: Outcome,
    /// From the request sent to the origin to its response head; none if no head came.
    pub origin_ttfb: Option<Duration>,
    /// From the request's head received to the response's first byte handed to the client; none if there was none.
    pub ttfb: Option<Duration>,
    /// From the request's head received to its end.
    pub total: Duration,
    /// Response body bytes handed to the client.
    pub bytes: u64,
    /// The origin that its target belongs to, whether it was asked or not.
    pub origin: OriginId,
    /// Who asked for what.
    pub keys: Keys,
    /// Its client's side in the canary when it began; none if none ran.
    pub canary: Option<Membership>,
}
