//! How many parts of one body may be asked for at once, by what the origin has given of it.

use crate::traffic::tolerance::Allowance;

/// After so many parts that came, targets like this one count as ones that give parts.
const PROOF: u32 = 8;

/// How many parts of one body may be asked for at once.
#[derive(Debug)]
pub(super) struct Grant {
    most: usize,
    grows: bool,
    given: u32,
    over: bool,
}

impl Grant {
    /// Begins with what is known of targets like this one.
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

    /// How many may be asked for at once.
    pub(super) fn most(&self) -> usize {
        if self.over { 0 } else { self.most }
    }

    /// Notes that the origin gave a part: one more may be asked for, as in TCP's slow start. Returns true once it has given
    /// [`PROOF`] of them.
    pub(super) fn given(&mut self) -> bool {
        if self.grows {
            self.most = self.most.saturating_add(1);
        }
        self.given = self.given.saturating_add(1);
        self.given == PROOF && !self.over
    }

    /// A part was refused: no more of them.
    pub(super) fn end(&mut self) {
        self.over = true;
    }

    /// Whether a part was refused.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}
