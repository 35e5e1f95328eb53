//! How many parts of one body may be asked for at once, by what the origin has given of it.

use crate::traffic::tolerance::Allowance;

/// So many parts that were given say that the target takes it.
const PROOF: u32 = 8;

/// Leave to ask for parts.
#[derive(Debug)]
pub(super) struct Grant {
    most: usize,
    grows: bool,
    given: u32,
    over: bool,
}

impl Grant {
    /// What is allowed to begin with.
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

    /// The origin gave one: one more may be asked for, as in TCP's slow start. Whether it has given enough by now to
    /// say so of the target.
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
