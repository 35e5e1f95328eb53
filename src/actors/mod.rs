//! The actors: they decide, and publish what they decided; the path reads it and never waits for an actor.
//!
//! ```text
//! workers --samples--> MetricsWindow --summary, every tick--> QualityClassifier --class--> Tuner
//!                                     \-----------------------> RateLimiter <----level-----/ |
//!                                     \--a candidate level is worse--------------------> Tuner
//! admin ---level--> Tuner <--level from other instances-- RedisPool <----------level-------/
//! ```
//!
//! Classifier and limiter keep one state for each origin (`OriginJudge`, `OriginLimiter`), and the window has a summary for each.
//!
//! Each actor runs on its own thread (an arbiter), so that it cannot delay others or a worker. A watchdog replaces an actor that
//! panicked or does not answer; what its successor needs is in [`Published`], or in a survivor.
//!
//! [`Published`]: crate::traffic::published::Published

mod actor_name;
mod directory;
#[cfg(feature = "testing")]
mod fault;
mod handle;
mod lease;
mod level_change;
mod mailbox;
mod messages;
mod metrics_window;
mod origin_judge;
mod origin_limiter;
mod quality_classifier;
mod rate_limiter;
pub mod redis_pool;
mod reporter;
mod settings;
mod supervised_actor;
mod supervision;
mod survivor;
mod tuner;
mod watchdog;

pub use actor_name::ActorName;
#[cfg(feature = "testing")]
pub use fault::Fault;
pub use handle::{Actors, NotStarted, start};
pub use level_change::{LevelChange, LevelSource, NotSet, TunerAway};
pub use reporter::Reporter;
pub use settings::Settings;
pub use supervision::Supervision;
