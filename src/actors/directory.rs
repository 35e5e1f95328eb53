//! The mailboxes of the actors: which actor receives which message.

use std::sync::Arc;

#[cfg(feature = "testing")]
use super::{actor_name::ActorName, fault::Fault};
use super::{
    mailbox::Mailbox,
    messages::{
        AdoptRollout, NewClass, NewLevel, NewSettings, NewSummary, RollBack, Samples, SaveRollback,
        SaveRollout, SetLevel, SharePurge,
    },
};
use crate::traffic::published::Published;

/// One mailbox for each receiver and kind of message, and the published state. Shared by the actors, the workers' reporters and the
/// handle. It names messages but no actors, so that the actors' files need not know each other.
pub(super) struct Directory {
    pub published: Arc<Published>,

    /// To `MetricsWindow`.
    pub samples: Mailbox<Samples>,
    /// To `MetricsWindow`.
    pub window_settings: Mailbox<NewSettings>,

    /// To `QualityClassifier`.
    pub classifier_summary: Mailbox<NewSummary>,
    /// To `QualityClassifier`.
    pub classifier_settings: Mailbox<NewSettings>,

    /// To `RateLimiter`.
    pub limiter_summary: Mailbox<NewSummary>,
    /// To `RateLimiter`.
    pub limiter_level: Mailbox<NewLevel>,
    /// To `RateLimiter`.
    pub limiter_settings: Mailbox<NewSettings>,

    /// To `RedisPool`.
    pub save_rollout: Mailbox<SaveRollout>,
    /// To `RedisPool`.
    pub save_rollback: Mailbox<SaveRollback>,
    /// To `RedisPool`.
    pub share_purge: Mailbox<SharePurge>,
    /// To `RedisPool`.
    pub redis_level: Mailbox<NewLevel>,

    /// To `Tuner`.
    pub set_level: Mailbox<SetLevel>,
    /// To `Tuner`.
    pub adopt_rollout: Mailbox<AdoptRollout>,
    /// To `Tuner`.
    pub roll_back: Mailbox<RollBack>,
    /// To `Tuner`.
    pub new_class: Mailbox<NewClass>,
    /// To `Tuner`.
    pub tuner_settings: Mailbox<NewSettings>,

    /// To each actor, in the order of [`ActorName::ALL`].
    #[cfg(feature = "testing")]
    faults: [Mailbox<Fault>; ActorName::ALL.len()],
}

impl Directory {
    /// Mailboxes without receivers.
    pub fn new(published: Arc<Published>) -> Self {
        Self {
            published,
            samples: Mailbox::default(),
            window_settings: Mailbox::default(),
            classifier_summary: Mailbox::default(),
            classifier_settings: Mailbox::default(),
            limiter_summary: Mailbox::default(),
            limiter_level: Mailbox::default(),
            limiter_settings: Mailbox::default(),
            save_rollout: Mailbox::default(),
            save_rollback: Mailbox::default(),
            share_purge: Mailbox::default(),
            redis_level: Mailbox::default(),
            set_level: Mailbox::default(),
            adopt_rollout: Mailbox::default(),
            roll_back: Mailbox::default(),
            new_class: Mailbox::default(),
            tuner_settings: Mailbox::default(),
            #[cfg(feature = "testing")]
            faults: Default::default(),
        }
    }

    /// The fault mailbox of the actor with this name.
    #[cfg(feature = "testing")]
    pub fn fault(&self, name: ActorName) -> &Mailbox<Fault> {
        &self.faults[name as usize]
    }
}
