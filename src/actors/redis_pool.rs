//! Keeps the level and the canary in Redis for all instances, and tells Redis that this instance lives.
//!
//! Redis is never waited for: every exchange is a task of its own with a deadline, at most one ping is under way, and
//! the actor stays free for messages. What was published last stays in force while Redis is away.
//!
//! Keys, below `redis.prefix`: `<prefix>:level` holds the level as a word, `<prefix>:canary` the canary as JSON; on the
//! channel named like the level any message says that one of them changed, whereupon every instance reads both;
//! `<prefix>:instance:<id>` is a summary of one instance and expires.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{info, warn};

use super::{
    directory::{Directory, Lease, supervised},
    lock,
    tuner::{Adopt, Retuned},
};
use crate::{
    traffic::{
        canary::{Canary, Rollout},
        level::Level,
        published::{RedisLink, RedisStatus},
    },
    units::OutOfRange,
};

mod canary_key;
mod feed;
mod link;
mod target;

use link::{Link, Trouble};
pub use target::{NotATarget, Target};

/// `[redis]`: where the level is shared between instances. Optional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `redis://`, `rediss://`, `redis+cluster://` or `rediss+cluster://`; empty for none.
    pub url: Target,
    /// What all keys and channels begin with.
    pub prefix: String,
    /// How often this instance says that it lives, and reads the level in case it missed a message.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Longest wait for an answer.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Settings {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless(
            !self.prefix.is_empty() && !self.prefix.contains(char::is_whitespace),
            "redis.prefix",
            "a word",
            format_args!("`{}`", self.prefix),
        )?;
        OutOfRange::unless_between(
            "redis.heartbeat",
            Duration::from_millis(100),
            self.heartbeat,
            Duration::from_secs(3600),
        )?;
        OutOfRange::unless_between(
            "redis.timeout",
            Duration::from_millis(10),
            self.timeout,
            Duration::from_secs(60),
        )
    }

    fn level_key(&self) -> String {
        format!("{}:level", self.prefix)
    }

    fn canary_key(&self) -> String {
        format!("{}:canary", self.prefix)
    }
}

/// Lets TLS connections find their cryptography. Can be called as often as one likes.
pub fn install_crypto() {
    // an error says that one is installed already
    _ = rustls::crypto::ring::default_provider().install_default();
}

/// What must survive the actor.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<Mutex<KeptRollout>>);

#[derive(Debug, Default)]
struct KeptRollout {
    /// What was set last for all instances, as far as known here.
    shared: Option<Rollout>,
    /// Set here, and not in Redis yet.
    unsaved: bool,
    /// The candidate was taken back here, and that is not in Redis yet.
    rollback_unsaved: bool,
    /// This instance's name in Redis.
    instance: Option<String>,
}

/// Owns the connection to Redis.
pub(super) struct RedisPool {
    settings: Settings,
    tick: Duration,
    kept: Kept,
    directory: Arc<Directory>,
    lease: Lease,
    instance: String,
    link: Option<Link>,
    ceiling: Arc<Ceiling>,
    /// When the exchange of this tick began; none if none is under way.
    asked: Option<Instant>,
    /// Pings in a row that failed.
    failures: u32,
    status: RedisLink,
    latency: Option<Duration>,
    beat_at: Option<Instant>,
}

/// Most commands under way at once. They share one connection, so this is a ceiling and no pool of sockets.
#[derive(Debug)]
struct Ceiling {
    size: AtomicUsize,
    in_use: AtomicUsize,
}

/// The right to have one command under way.
struct Place(Arc<Ceiling>);

impl Ceiling {
    fn take(self: &Arc<Self>) -> Option<Place> {
        let size = self.size.load(Relaxed);
        self.in_use
            .fetch_update(Relaxed, Relaxed, |used| (used < size).then_some(used + 1))
            .ok()
            .map(|_| Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Relaxed);
    }
}

/// From the tuner: keep this level and this canary for all instances.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Keep(pub Rollout);

/// From the tuner: the candidate was found worse here and taken back; so for all instances, unless they have gone on.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct KeepRollback(pub Rollout);

/// From the feed: the level or the canary may have changed.
#[derive(Message)]
#[rtype(result = "()")]
struct ReadLevel;

impl RedisPool {
    pub fn new(
        settings: &Settings,
        tick: Duration,
        kept: Kept,
        directory: Arc<Directory>,
        lease: Lease,
    ) -> Self {
        let instance = lock(&kept.0)
            .instance
            .get_or_insert_with(instance_name)
            .clone();
        let size = directory.published.tuning.load().redis_pool;
        Self {
            settings: settings.clone(),
            tick,
            kept,
            directory,
            lease,
            instance,
            link: None,
            ceiling: Arc::new(Ceiling {
                size: AtomicUsize::new(size),
                in_use: AtomicUsize::new(0),
            }),
            asked: None,
            failures: 0,
            status: match settings.url {
                Target::None => RedisLink::Disabled,
                _ => RedisLink::Disconnected,
            },
            latency: None,
            beat_at: None,
        }
    }

    fn publish(&self) {
        let status = RedisStatus {
            link: self.status,
            latency: self.latency,
            pool_size: self.ceiling.size.load(Relaxed),
            in_use: self.ceiling.in_use.load(Relaxed),
        };
        let redis = &self.directory.published.redis;
        if **redis.load() != status {
            redis.store(Arc::new(status));
        }
    }

    /// Asks Redis how it is, connecting first if need be.
    fn ping(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.asked.is_some() {
            return; // the last one ends by its own deadline
        }
        let Some(place) = self.ceiling.take() else {
            return;
        };
        self.asked = Some(now);
        let link = self.link.clone();
        let target = self.settings.url.clone();
        let timeout = self.settings.timeout;
        let exchange = async move {
            let link = match link {
                Some(link) => link,
                None => Link::open(&target, timeout)
                    .await
                    .map_err(|trouble| (trouble, None))?,
            };
            let sent = Instant::now();
            match link.ping().await {
                Ok(()) => Ok((link, sent.elapsed())),
                Err(trouble) => Err((trouble, Some(link))),
            }
        };
        ctx.spawn(exchange.into_actor(self).map(move |result, this, ctx| {
            drop(place);
            this.asked = None;
            match result {
                Ok((link, latency)) => this.answered(link, latency, ctx),
                Err((trouble, link)) => this.did_not_answer(&trouble, link),
            }
            this.publish();
        }));
    }

    fn answered(&mut self, link: Link, latency: Duration, ctx: &mut Context<Self>) {
        self.failures = 0;
        self.latency = Some(latency);
        self.link = Some(link);
        let now = Instant::now();
        if self.status != RedisLink::Connected {
            self.status = RedisLink::Connected;
            let latency_ms = latency.as_secs_f64() * 1000.0;
            info!(url = %self.settings.url, latency_ms, "redis connected");
            self.beat_at = None; // what happened while it was away is caught up at once
        }
        if self
            .beat_at
            .is_none_or(|at| now.saturating_duration_since(at) >= self.settings.heartbeat)
        {
            self.beat_at = Some(now);
            self.beat(ctx);
            self.share_level(ctx);
        }
    }

    fn did_not_answer(&mut self, trouble: &Trouble, link: Option<Link>) {
        // a link that stays broken (its host is gone, or it was refused for good) is made anew
        const ANEW_AFTER: u32 = 3;
        self.failures += 1;
        self.latency = None;
        self.link = link.filter(|_| !self.failures.is_multiple_of(ANEW_AFTER));
        if self.status == RedisLink::Connected || self.failures == 1 {
            warn!(url = %self.settings.url, %trouble, "redis does not answer");
        }
        self.status = RedisLink::Disconnected;
    }

    /// Tells Redis that this instance lives.
    fn beat(&mut self, ctx: &mut Context<Self>) {
        let key = format!("{}:instance:{}", self.settings.prefix, self.instance);
        let expires = self.settings.heartbeat * 3;
        let published = &self.directory.published;
        let tuning = published.tuning.load();
        let summary = published.summary.load();
        let value = json!({
            "instance": self.instance,
            "version": env!("CARGO_PKG_VERSION"),
            "timestamp": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            "uptime_seconds": published.started.elapsed().as_secs(),
            "origin": published.origin,
            "optimization_level": tuning.level,
            "canary": published.canary.load().candidate,
            "quality": tuning.class,
            "rate_per_second": published.gate.rate(),
            "total_requests": summary.total.requests,
            "error_count": summary.total.errors,
            "total_bytes_transferred": summary.total.bytes,
            "throughput_mbps": summary.throughput_mbps(),
        })
        .to_string();
        let mut command = redis::cmd("SET");
        command
            .arg(key)
            .arg(value)
            .arg("PX")
            .arg(expires.as_millis() as u64);
        self.run(ctx, "take the heartbeat", vec![command], |_, _, _| {});
    }

    /// Brings what is set here and what is in Redis together.
    fn share_level(&mut self, ctx: &mut Context<Self>) {
        let (level_key, canary_key) = (self.settings.level_key(), self.settings.canary_key());
        let (shared, unsaved, rollback_unsaved) = {
            let kept = lock(&self.kept.0);
            (kept.shared.clone(), kept.unsaved, kept.rollback_unsaved)
        };
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&level_key);
        match shared {
            Some(set) if unsaved => {
                let mut set_level = redis::cmd("SET");
                set_level.arg(&level_key).arg(set.level.as_str());
                let set_canary = canary_key::set(&canary_key, &set.canary);
                publish.arg(set.level.as_str());
                let commands = vec![set_level, set_canary, publish];
                self.run(ctx, "keep the level", commands, move |this, _, _| {
                    let mut kept = lock(&this.kept.0);
                    // unless another was set meanwhile
                    kept.unsaved &= kept.shared.as_ref() != Some(&set);
                });
            }
            Some(set) if rollback_unsaved => {
                publish.arg("rollback");
                let commands = vec![canary_key::roll_back(&canary_key, &set.canary), publish];
                self.run(ctx, "keep the rollback", commands, move |this, _, ctx| {
                    let mut kept = lock(&this.kept.0);
                    kept.rollback_unsaved &= kept.shared.as_ref() != Some(&set);
                    drop(kept);
                    this.share_level(ctx);
                });
                // the fleet may have gone on, or this Redis takes no scripts
                self.read(ctx);
            }
            _ => self.read(ctx),
        }
    }

    fn read(&mut self, ctx: &mut Context<Self>) {
        let mut get_level = redis::cmd("GET");
        get_level.arg(self.settings.level_key());
        let mut get_canary = redis::cmd("GET");
        get_canary.arg(self.settings.canary_key());
        let commands = vec![get_level, get_canary];
        self.run(ctx, "read the level", commands, |this, replies, ctx| {
            if let Ok([level, canary]) = <[redis::Value; 2]>::try_from(replies) {
                this.take(level, canary, ctx);
            }
        });
    }

    /// Takes what Redis holds, unless something newer is on its way there.
    fn take(&mut self, level: redis::Value, canary: redis::Value, ctx: &mut Context<Self>) {
        let canary = canary_key::read(canary).unwrap_or_else(|error| {
            let key = self.settings.canary_key();
            warn!(key, %error, "redis holds no canary");
            // what runs goes on
            Canary::clone(&self.directory.published.canary.load())
        });
        let shared = {
            let mut kept = lock(&self.kept.0);
            let stage = kept.shared.as_ref().map(|set| set.canary.stage);
            if kept.unsaved || (kept.rollback_unsaved && stage == Some(canary.stage)) {
                return;
            }
            kept.rollback_unsaved = false;
            kept.shared.clone()
        };
        let word = redis::from_redis_value::<Option<String>>(level).ok();
        match word.flatten().as_deref().map(str::parse::<Level>) {
            None => shared
                .into_iter()
                .for_each(|rollout| self.put_back(&rollout, ctx)),
            Some(Ok(level)) => {
                let rollout = Rollout { level, canary }.sound();
                lock(&self.kept.0).shared = Some(rollout.clone());
                if self.directory.published.rollout() != rollout {
                    _ = self.directory.tuner.tell(Adopt(rollout));
                }
            }
            Some(Err(error)) => {
                warn!(key = self.settings.level_key(), %error, "redis holds no level");
            }
        }
    }

    /// Redis came back empty: what was set for all instances is set again, unless another instance set something
    /// newer by now. The level last: who finds it finds the canary, too.
    fn put_back(&mut self, rollout: &Rollout, ctx: &mut Context<Self>) {
        let mut set = redis::cmd("SET");
        set.arg(self.settings.level_key())
            .arg(rollout.level.as_str())
            .arg("NX");
        let canary = canary_key::put_back(&self.settings.canary_key(), &rollout.canary);
        let commands = canary.into_iter().chain([set]).collect();
        self.run(ctx, "keep the level", commands, |_, _, _| {});
    }

    /// Runs commands one after another, as a task of its own, and hands the replies over if all went well.
    fn run(
        &mut self,
        ctx: &mut Context<Self>,
        what: &'static str,
        commands: Vec<redis::Cmd>,
        then: impl FnOnce(&mut Self, Vec<redis::Value>, &mut Context<Self>) + 'static,
    ) {
        let (Some(link), Some(place)) = (self.link.clone(), self.ceiling.take()) else {
            return; // the next heartbeat tries again
        };
        let exchange = async move {
            let mut replies = Vec::with_capacity(commands.len());
            for command in &commands {
                replies.push(link.run(command).await?);
            }
            Ok::<_, Trouble>(replies)
        };
        ctx.spawn(exchange.into_actor(self).map(move |result, this, ctx| {
            drop(place);
            match result {
                Ok(replies) => then(this, replies, ctx),
                Err(trouble) => warn!(%trouble, "redis did not {what}"),
            }
        }));
    }
}

impl Actor for RedisPool {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.publish();
        if self.settings.url == Target::None {
            return;
        }
        ctx.spawn(
            feed::listen(
                self.settings.url.clone(),
                self.settings.level_key(),
                ctx.address(),
            )
            .into_actor(self),
        );
        ctx.run_interval(self.tick, |this, ctx| {
            if this.lease.is_revoked() {
                return ctx.stop();
            }
            this.ping(Instant::now(), ctx);
            this.publish();
        });
        self.ping(Instant::now(), ctx);
    }
}

impl Handler<Keep> for RedisPool {
    type Result = ();

    fn handle(&mut self, Keep(rollout): Keep, ctx: &mut Self::Context) {
        {
            let mut kept = lock(&self.kept.0);
            kept.shared = Some(rollout);
            kept.unsaved = true;
            kept.rollback_unsaved = false;
        }
        if self.status == RedisLink::Connected {
            self.share_level(ctx);
        }
    }
}

impl Handler<KeepRollback> for RedisPool {
    type Result = ();

    fn handle(&mut self, KeepRollback(rollout): KeepRollback, ctx: &mut Self::Context) {
        {
            let mut kept = lock(&self.kept.0);
            kept.shared = Some(rollout);
            // what was set here and is not there yet goes there as it is now
            kept.rollback_unsaved = !kept.unsaved;
        }
        if self.status == RedisLink::Connected {
            self.share_level(ctx);
        }
    }
}

impl Handler<ReadLevel> for RedisPool {
    type Result = ();

    fn handle(&mut self, _: ReadLevel, ctx: &mut Self::Context) {
        if self.status == RedisLink::Connected {
            self.share_level(ctx);
        }
    }
}

impl Handler<Retuned> for RedisPool {
    type Result = ();

    fn handle(&mut self, Retuned(tuning): Retuned, _: &mut Self::Context) {
        self.ceiling.size.store(tuning.redis_pool, Relaxed);
        self.publish();
    }
}

supervised!(RedisPool);

/// A name that no other instance has: host, process, and a number for many in one process.
fn instance_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "unknown",
        host => host,
    };
    format!("{host}-{}-{:08x}", std::process::id(), fastrand::u32(..))
}
