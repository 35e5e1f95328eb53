//! How many parts of one body may be requested at once, by how the origin has accepted them so far.

use crate::traffic::tolerance::Allowance;

/// After this many accepted parts, the origin counts as tolerating parts for targets like this one.
const PROOF: u32 = 8;

/// How many parts of one body may be requested at once.
#[derive(Debug)]
pub(super) struct Grant {
    most: usize,
    grows: bool,
    given: u32,
    over: bool,
}

impl Grant {
    /// Starts from what is known of targets like this one.
    pub(super) fn new(allowance: Allowance) -> Self {
        let (most, grows) = match allowance {
            Allowance::Nothing => (0, false),
            Allowance::One => (1, false),
            Allowance::Cautious => (1, true),
            Allowance::Usual => (usize::MAX, false),
        };
        Grant {
            most,
            grows,
            given: 0,
            over: false,
        }
    }

    /// The most parts that may be requested at once.
    pub(super) fn most(&self) -> usize {
        if self.over { 0 } else { self.most }
    }

    /// An accepted part: allows one more, like TCP slow start. Returns true when [`PROOF`] is reached.
    pub(super) fn given(&mut self) -> bool {
        if self.grows {
            self.most = self.most.saturating_add(1);
        }
        self.given = self.given.saturating_add(1);
        self.given == PROOF && !self.over
    }

    /// A part was refused: no more are requested.
    pub(super) fn end(&mut self) {
        self.over = true;
    }

    /// Whether a part was refused.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}
