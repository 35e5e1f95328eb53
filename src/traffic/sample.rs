//! The measurements of one request.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{canary::split::Membership, keys::Keys, origin_id::OriginId};

/// How a request ended. The names are stable: they appear in the access log and in /stats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The whole response was sent; the status is below 400.
    Completed,
    /// The whole response was sent; the status is 4xx.
    Refused,
    /// The origin's status is 5xx.
    OriginFailed,
    /// No connection to the origin could be opened.
    ConnectFailed,
    /// The origin did not answer, or its body stalled, for too long.
    OriginTimeout,
    /// The origin's response failed, or violated HTTP.
    OriginBroken,
    /// The client left before the end.
    ClientLeft,
    /// The client sent or read nothing for too long, or sent something invalid.
    ClientFault,
    /// Refused by the rate limit.
    RateLimited,
    /// Refused because no origin connection became free in time.
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

    /// Whether the rate limit counts it as an error of the origin: 5xx, failed connect, timeout or broken body. Not a 4xx or a
    /// client that left.
    pub fn is_origin_error(self) -> bool {
        matches!(
            self,
            Outcome::OriginFailed
                | Outcome::ConnectFailed
                | Outcome::OriginTimeout
                | Outcome::OriginBroken
        )
    }

    /// Whether the origin was involved. Refused requests say nothing about the origin.
    pub fn reached_origin(self) -> bool {
        !matches!(
            self,
            Outcome::RateLimited | Outcome::Overloaded | Outcome::ClientFault
        )
    }

    /// The name in logs and JSON.
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
    /// Whether the store answered it without asking the origin.
    pub fn is_hit(&self) -> bool {
        let ended = matches!(
            self.outcome,
            Outcome::Completed | Outcome::Refused | Outcome::OriginFailed
        );
        ended && self.origin_ttfb.is_none()
    }

    /// Whether the origin was involved.
    pub fn reached_origin(&self) -> bool {
        self.outcome.reached_origin() && !self.is_hit()
    }
}

/// The measurements of one request, made when it ended.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When the request ended.
    pub ended: Instant,
    /// How the request ended.
    pub outcome: Outcome,
    /// From the request sent to the origin to its response head; none if no head came.
    pub origin_ttfb: Option<Duration>,
    /// From the request's head received to the response's first byte handed to the client; none if there was none.
    pub ttfb: Option<Duration>,
    /// From the request's head received to its end.
    pub total: Duration,
    /// Response body bytes sent to the client.
    pub bytes: u64,
    /// The origin of its target, whether it was asked or not.
    pub origin: OriginId,
    /// Its target and client, hashed.
    pub keys: Keys,
    /// Its client's group in the canary when it began; none if no canary ran.
    pub canary: Option<Membership>,
}
