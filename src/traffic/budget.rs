//! What may be asked for once more. Repeated requests are worth it while they are few; when an origin breaks down,
//! they would bury it, so they are paid from a purse that fills slowly.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// A purse of tokens: one for each repeated request.
#[derive(Debug)]
pub struct Budget {
    // a std mutex: held for a few instructions, and only when something broke
    purse: Mutex<Purse>,
    /// It never holds more.
    burst: f64,
    /// So many tokens come each second.
    rate: f64,
}

#[derive(Debug)]
struct Purse {
    tokens: f64,
    filled: Instant,
}

impl Budget {
    /// A full purse.
    pub fn new(burst: f64, rate: f64, now: Instant) -> Self {
        Budget {
            purse: Mutex::new(Purse {
                tokens: burst,
                filled: now,
            }),
            burst,
            rate,
        }
    }

    /// Pays for one request at `now`; false if the purse is empty.
    pub fn spend(&self, now: Instant) -> bool {
        self.pay(1.0, now)
    }

    /// Pays so many tokens at `now`, all or none; false if there are not enough.
    pub fn pay(&self, tokens: f64, now: Instant) -> bool {
        let mut purse = self.purse.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(purse.filled).as_secs_f64() * self.rate;
        purse.tokens = (purse.tokens + gained).min(self.burst);
        purse.filled = purse.filled.max(now);
        let enough = purse.tokens >= tokens;
        if enough {
            purse.tokens -= tokens;
        }
        enough
    }

    /// Gives back a part of a token, or a whole one for a request that was worth it.
    pub fn earn(&self, tokens: f64) {
        let mut purse = self.purse.lock().unwrap_or_else(PoisonError::into_inner);
        purse.tokens = (purse.tokens + tokens).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_empty_purse_pays_nothing_until_time_fills_it() {
        let now = Instant::now();
        let budget = Budget::new(2.0, 1.0, now);
        assert!(budget.spend(now) && budget.spend(now) && !budget.spend(now));
        assert!(budget.spend(now + Duration::from_secs(1)));
        assert!(!budget.spend(now + Duration::from_secs(1)));
    }

    #[test]
    fn a_request_that_was_worth_it_is_paid_back() {
        let now = Instant::now();
        let budget = Budget::new(1.0, 0.0, now);
        for _ in 0..100 {
            assert!(budget.spend(now));
            budget.earn(1.0);
        }
        assert!(budget.spend(now) && !budget.spend(now));
    }
}
