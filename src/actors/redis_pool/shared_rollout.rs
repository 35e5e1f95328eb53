//! The rollout that all instances share, and what of it must still be written to Redis.

use crate::traffic::canary::{Canary, Rollout};

/// The rollout (level and canary) that all instances share, as known here, and whether it must still be written to Redis.
#[derive(Debug, Default)]
pub struct SharedRollout {
    rollout: Option<Rollout>,
    pending: Pending,
}

/// What must still be written to Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pending {
    /// Nothing: Redis's content is read and adopted.
    #[default]
    Nothing,
    /// Level and canary, whatever Redis contains: an operator set them here.
    Rollout,
    /// The end of the canary, if it still runs there: this instance rolled it back.
    Rollback,
}

impl SharedRollout {
    /// An operator set this rollout here.
    pub(super) fn set(&mut self, rollout: Rollout) {
        self.rollout = Some(rollout);
        self.pending = Pending::Rollout;
    }

    /// This instance rolled the canary back; `rollout` remains.
    pub(super) fn rolled_back(&mut self, rollout: Rollout) {
        self.rollout = Some(rollout);
        // A canary that is not in Redis yet is written in its final state.
        if self.pending == Pending::Nothing {
            self.pending = Pending::Rollback;
        }
    }

    /// What to write, and how; none if there is nothing to write.
    pub(super) fn to_write(&self) -> Option<(Rollout, Pending)> {
        let pending = Some(self.pending).filter(|pending| *pending != Pending::Nothing);
        self.rollout.clone().zip(pending)
    }

    /// Records a write. Nothing is left to write, unless another rollout was set meanwhile.
    pub(super) fn written(&mut self, rollout: &Rollout, how: Pending) {
        if self.pending == how && self.rollout.as_ref() == Some(rollout) {
            self.pending = Pending::Nothing;
        }
    }

    /// Whether a canary read from Redis is older than what must still be written. If not, nothing is left to write, because another
    /// instance has changed it.
    pub(super) fn is_newer_than(&mut self, canary: &Canary) -> bool {
        let is_its_end = |rollout: &Rollout| rollout.canary.stage == canary.stage;
        match self.pending {
            Pending::Nothing => false,
            Pending::Rollout => true,
            Pending::Rollback if self.rollout.as_ref().is_some_and(is_its_end) => true,
            Pending::Rollback => {
                self.pending = Pending::Nothing;
                false
            }
        }
    }

    /// Records the content of Redis, which all instances have.
    pub(super) fn adopted(&mut self, rollout: Rollout) {
        self.rollout = Some(rollout);
    }

    /// The rollout that all instances share, as known here.
    pub(super) fn rollout(&self) -> Option<Rollout> {
        self.rollout.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::traffic::{
        canary::{Percent, Rollback},
        level::Level,
    };

    fn canary(stage: u32) -> Rollout {
        let all = Rollout {
            level: Level::Low,
            canary: Canary::default(),
        };
        let ten = Percent::try_from(10).unwrap();
        all.asked(Level::High, ten, stage, SystemTime::UNIX_EPOCH)
            .unwrap()
    }

    fn ended(stage: u32) -> Rollout {
        canary(stage).rolled_back(Rollback {
            at: SystemTime::UNIX_EPOCH,
            reason: "slower".to_owned(),
        })
    }

    #[test]
    fn what_an_operator_set_is_written_whatever_redis_holds() {
        let mut shared = SharedRollout::default();
        shared.set(canary(1));
        assert!(shared.is_newer_than(&canary(2).canary));
        assert_eq!(shared.to_write(), Some((canary(1), Pending::Rollout)));
        shared.written(&canary(1), Pending::Rollout);
        assert_eq!(shared.to_write(), None);
        assert!(!shared.is_newer_than(&canary(2).canary));
    }

    #[test]
    fn what_was_set_while_another_was_written_is_still_to_be_written() {
        let mut shared = SharedRollout::default();
        shared.set(canary(1));
        shared.set(canary(2));
        shared.written(&canary(1), Pending::Rollout);
        assert_eq!(shared.to_write(), Some((canary(2), Pending::Rollout)));
    }

    #[test]
    fn the_end_of_a_canary_is_written_only_where_that_one_runs() {
        let mut shared = SharedRollout::default();
        shared.rolled_back(ended(1));
        assert!(shared.is_newer_than(&canary(1).canary));
        assert_eq!(shared.to_write(), Some((ended(1), Pending::Rollback)));
        assert!(!shared.is_newer_than(&canary(2).canary));
        assert_eq!(shared.to_write(), None);
    }

    #[test]
    fn a_canary_that_ended_before_it_was_written_is_written_as_ended() {
        let mut shared = SharedRollout::default();
        shared.set(canary(1));
        shared.rolled_back(ended(1));
        assert_eq!(shared.to_write(), Some((ended(1), Pending::Rollout)));
    }
}
