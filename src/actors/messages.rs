//! The messages between actors. Each has one or two receivers; [`directory`](super::directory) lists them.

use std::sync::Arc;

use actix::Message;

use super::{
    level_change::{LevelChange, LevelSource},
    settings::Settings,
};
use crate::store::purge::What;
use crate::traffic::{
    canary::{Conflict, Percent, Rollout},
    level::Level,
    origin_id::OriginId,
    quality::Class,
    sample::Sample,
    summary::Summary,
    tuning::LevelInForce,
};

/// From a worker to the window: finished requests.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Samples(pub Vec<Sample>);

/// From the window to classifier and limiter, once a tick: the summary of all samples so far.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct NewSummary(pub Arc<Summary>);

/// From the classifier to the tuner: the class of the network to one origin, and why it changed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct NewClass {
    pub origin: OriginId,
    pub class: Class,
    pub why: String,
}

/// From the window to the tuner: the canary with this stage is worse than the stable group.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RollBack {
    pub stage: u32,
    pub reason: String,
}

/// From the admin endpoint to the tuner: `level` for `percent` of the clients. The result is none if the tuner was replaced before
/// it acted.
#[derive(Message)]
#[rtype(result = "Option<Result<LevelChange, Conflict>>")]
pub(super) struct SetLevel {
    pub level: Level,
    pub percent: Percent,
    pub source: LevelSource,
}

/// From the Redis pool to the tuner: the level and the canary that all instances share.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AdoptRollout(pub Rollout);

/// From the tuner to the Redis pool: an operator set this rollout; save it for all instances.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SaveRollout(pub Rollout);

/// From the tuner to the Redis pool: this instance rolled the canary back; save that for all instances, unless another canary runs
/// there by now.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SaveRollback(pub Rollout);

/// From the purge endpoint to the Redis pool: a purge made here, for all other instances. The result is whether they will receive
/// it.
#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct SharePurge {
    pub what: Vec<What>,
    pub soft: bool,
}

/// From the tuner to limiter and Redis pool: the level in force from now on.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct NewLevel(pub Arc<LevelInForce>);

/// To every actor whose settings can change while it runs, after a reload: the settings in force from now on.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct NewSettings(pub Arc<Settings>);

/// From the watchdog to every actor, which is replaced if it does not answer in time.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ping;
