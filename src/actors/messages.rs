//! What the actors tell each other. Each message has one kind of receiver or two; who hears what is in
//! [`directory`](super::directory).

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

/// From a worker to the window: requests that ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Samples(pub Vec<Sample>);

/// From the window to classifier and limiter, once a tick: the summary of all samples so far.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct NewSummary(pub Arc<Summary>);

/// From the classifier to the tuner: the class of the network to this origin, and why it changed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct NewClass {
    pub origin: OriginId,
    pub class: Class,
    pub why: String,
}

/// From the window to the tuner: the canary with this stage number is worse than the rest of the clients.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RollBack {
    pub stage: u32,
    pub reason: String,
}

/// From the admin endpoint to the tuner: `level` for `percent` of the clients. The result is none if the tuner was
/// replaced before it could act.
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

/// From the tuner to the Redis pool: an operator set this level and this canary; save them for all instances.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SaveRollout(pub Rollout);

/// From the tuner to the Redis pool: this instance took the canary back; save that for all instances, unless another
/// canary runs there by now.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SaveRollback(pub Rollout);

/// From the purge endpoint to the Redis pool: this was purged here; tell all other instances. The result is whether they will hear
/// of it.
#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct SharePurge {
    pub what: Vec<What>,
    pub soft: bool,
}

/// From the tuner to limiter and Redis pool: what the level in force from now on says.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct NewLevel(pub Arc<LevelInForce>);

/// After a reload, to every actor whose settings can change while it runs: the settings in force from now on.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct NewSettings(pub Arc<Settings>);

/// From the watchdog to every actor: an actor that does not answer in time is replaced.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ping;
