//! A token bucket: limits how often something is done, on average and at once.
//!
//! It limits repeated requests. They are useful while they are few; during an outage they would overload the origin.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Token bucket: refills at `rate` per second up to `burst`; `earn` returns tokens after a useful retry.
#[derive(Debug)]
pub struct TokenBucket {
    /// A std mutex: held for a few instructions, never across an await.
    state: Mutex<State>,
    /// The most tokens that it holds.
    burst: f64,
    /// Tokens that it gains each second.
    rate: f64,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    /// When `tokens` was last updated.
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens.
    pub fn new(burst: f64, rate: f64, now: Instant) -> Self {
        TokenBucket {
            state: Mutex::new(State {
                tokens: burst,
                filled: now,
            }),
            burst,
            rate,
        }
    }

    /// Takes one token at `now`. False if there is none.
    pub fn spend(&self, now: Instant) -> bool {
        self.pay(1.0, now)
    }

    /// Takes `tokens` at `now`, all or none. False if there are not enough.
    pub fn pay(&self, tokens: f64, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(state.filled).as_secs_f64() * self.rate;
        state.tokens = (state.tokens + gained).min(self.burst);
        state.filled = state.filled.max(now);
        let enough = state.tokens >= tokens;
        if enough {
            state.tokens -= tokens;
        }
        enough
    }

    /// Returns `tokens`, which may be fractional; a full bucket keeps no more. A negative number takes tokens, and may leave a
    /// negative balance.
    pub fn earn(&self, tokens: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tokens = (state.tokens + tokens).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_empty_bucket_gives_nothing_until_time_fills_it() {
        let now = Instant::now();
        let bucket = TokenBucket::new(2.0, 1.0, now);
        assert!(bucket.spend(now) && bucket.spend(now) && !bucket.spend(now));
        assert!(bucket.spend(now + Duration::from_secs(1)));
        assert!(!bucket.spend(now + Duration::from_secs(1)));
    }

    #[test]
    fn a_request_that_was_worth_it_is_paid_back() {
        let now = Instant::now();
        let bucket = TokenBucket::new(1.0, 0.0, now);
        for _ in 0..100 {
            assert!(bucket.spend(now));
            bucket.earn(1.0);
        }
        assert!(bucket.spend(now) && !bucket.spend(now));
    }
}
