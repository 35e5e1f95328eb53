//! Keeps level and canary in Redis for all instances, and writes this instance's heartbeat.
//!
//! Nothing waits for Redis: every exchange is a separate task with a deadline, at most one ping is under way, and the actor stays
//! responsive. While Redis is unreachable, the published state stays in force.
//!
//! All keys start with `redis.prefix`: see `rollout_keys`, `purge_stream` and `heartbeat`.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture,
};
use actix_rt::task::spawn_blocking;
use tracing::{info, warn};

use super::{
    directory::Directory,
    lease::Lease,
    messages::{AdoptRollout, NewLevel, SaveRollback, SaveRollout, SharePurge},
    supervised_actor::supervised,
    survivor::Survivor,
};
use crate::store::{Store, purge::What};
use crate::traffic::{
    canary::{Canary, Rollout},
    level::Level,
    published::{RedisLink, RedisStatus},
};

mod command_limit;
mod heartbeat;
mod link;
mod purge_stream;
mod rollout_keys;
pub(super) mod settings;
mod shared_rollout;
mod subscription;
mod target;

use command_limit::CommandLimit;
pub(super) use heartbeat::instance_name;
pub(super) use link::install_crypto;
use link::{Link, Trouble};
use purge_stream::{Entry, PurgeStream};
use rollout_keys::RolloutKeys;
pub use settings::Settings;
use shared_rollout::Pending;
pub(super) use shared_rollout::SharedRollout;
use subscription::ReadRollout;
pub use target::{NotATarget, Target};

/// Owns the connection to Redis.
pub(super) struct RedisPool {
    settings: Settings,
    keys: RolloutKeys,
    purges: PurgeStream,
    /// Id of the last purge that was applied; none until it is known.
    purged: Option<String>,
    /// Whether purges are being read or applied.
    purging: bool,
    /// Time between two pings: `metrics.tick`.
    tick: Duration,
    /// This instance's name in Redis.
    instance: String,
    shared: Survivor<SharedRollout>,
    directory: Arc<Directory>,
    lease: Lease,
    /// None until the first connect succeeded, and after several failures in a row.
    link: Option<Link>,
    commands: CommandLimit,
    /// Whether a ping is under way.
    pinging: bool,
    /// Failed pings in a row.
    failures: u32,
    status: RedisLink,
    /// Time of the last ping; none if it failed.
    latency: Option<Duration>,
    /// When the last heartbeat was sent.
    beat_at: Option<Instant>,
}

supervised!(RedisPool, hears save_rollout, save_rollback, share_purge, redis_level);

impl RedisPool {
    pub fn new(
        settings: &Settings,
        tick: Duration,
        instance: String,
        shared: Survivor<SharedRollout>,
        directory: Arc<Directory>,
        lease: Lease,
    ) -> Self {
        let most = directory.published.level.load().redis_pool;
        Self {
            settings: settings.clone(),
            keys: RolloutKeys::new(&settings.prefix),
            purges: PurgeStream::new(&settings.prefix),
            purged: None,
            purging: false,
            tick,
            instance,
            shared,
            directory,
            lease,
            link: None,
            commands: CommandLimit::new(most),
            pinging: false,
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
            pool_size: self.commands.most(),
            in_use: self.commands.in_use(),
        };
        let redis = &self.directory.published.redis;
        if **redis.load() != status {
            redis.store(Arc::new(status));
        }
    }

    /// Pings Redis, and connects first if there is no connection.
    fn ping(&mut self, ctx: &mut Context<Self>) {
        if self.pinging {
            return; // the running one ends by its own deadline
        }
        let Some(permit) = self.commands.acquire() else {
            return;
        };
        self.pinging = true;
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
            drop(permit);
            this.pinging = false;
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
        self.follow_purges(ctx);
        if self.status != RedisLink::Connected {
            self.status = RedisLink::Connected;
            let latency_ms = latency.as_secs_f64() * 1000.0;
            info!(url = %self.settings.url, latency_ms, "redis connected");
            // Catches up at once with changes made meanwhile.
            self.beat_at = None;
        }
        if self
            .beat_at
            .is_none_or(|at| now.saturating_duration_since(at) >= self.settings.heartbeat)
        {
            self.beat_at = Some(now);
            self.beat(ctx);
            self.share(ctx);
        }
    }

    fn did_not_answer(&mut self, trouble: &Trouble, link: Option<Link>) {
        /// Failed pings after which a new connection is opened: the host may be gone for good.
        const ANEW_AFTER: u32 = 3;
        self.failures += 1;
        self.latency = None;
        self.link = link.filter(|_| !self.failures.is_multiple_of(ANEW_AFTER));
        if self.status == RedisLink::Connected || self.failures == 1 {
            warn!(url = %self.settings.url, %trouble, "redis does not answer");
        }
        self.status = RedisLink::Disconnected;
    }

    /// Writes the heartbeat. It expires after three missed ones.
    fn beat(&mut self, ctx: &mut Context<Self>) {
        let Settings {
            prefix, heartbeat, ..
        } = &self.settings;
        let expires = *heartbeat * 3;
        let beat = heartbeat::write(prefix, &self.instance, expires, &self.directory.published);
        self.run(ctx, "take the heartbeat", vec![beat], |_, _, _| {});
    }

    /// Applies the purges of other instances since the last time.
    fn follow_purges(&mut self, ctx: &mut Context<Self>) {
        let Some(store) = self.directory.published.store.get().map(Arc::clone) else {
            return;
        };
        let (Some(link), false) = (self.link.clone(), self.purging) else {
            return;
        };
        let Some(permit) = self.commands.acquire() else {
            return;
        };
        self.purging = true;
        let (stream, known) = (self.purges.clone(), self.purged.clone());
        let instance = self.instance.clone();
        let follow = async move {
            let last = match known {
                None => position(&store).await,
                known => known,
            };
            let command = match &last {
                Some(last) => stream.since(last),
                None => stream.newest(),
            };
            let reply = link
                .run(&command)
                .await
                .map_err(|trouble| trouble.to_string())?;
            let Some(last) = last else {
                let newest = PurgeStream::newest_of(reply).map_err(|error| error.to_string())?;
                set_position(&store, &newest).await;
                return Ok(newest);
            };
            let news = PurgeStream::news_of(&last, reply).map_err(|error| error.to_string())?;
            let now = SystemTime::now();
            match &news.entries {
                None => {
                    warn!(
                        "what other instances purged is not known any more: everything is purged"
                    );
                    let purged = store.purge(&What::All, false, now).await;
                    purged.map_err(|error| error.to_string())?;
                    store.counters.purged_by_others();
                }
                Some(entries) => {
                    for entry in entries.iter().filter(|entry| entry.by != instance) {
                        for what in &entry.what {
                            let purged = store.purge(what, entry.soft, now).await;
                            purged.map_err(|error| error.to_string())?;
                        }
                        info!(by = entry.by, what = ?entry.what, soft = entry.soft, "purged by another instance");
                        store.counters.purged_by_others();
                    }
                }
            }
            if news.last != last {
                set_position(&store, &news.last).await;
            }
            Ok::<_, String>(news.last)
        };
        ctx.spawn(follow.into_actor(self).map(move |followed, this, _| {
            drop(permit);
            this.purging = false;
            match followed {
                Ok(last) => this.purged = Some(last),
                Err(why) => warn!(
                    why,
                    "purges of other instances were not taken: they are tried again"
                ),
            }
        }));
    }

    /// Writes what was set here to Redis, or else reads what it contains.
    fn share(&mut self, ctx: &mut Context<Self>) {
        let to_write = self.shared.lock().to_write();
        match to_write {
            Some((rollout, Pending::Rollout)) => {
                let commands = self.keys.set(&rollout);
                self.run(ctx, "keep the level", commands, move |this, _, _| {
                    this.shared.lock().written(&rollout, Pending::Rollout);
                });
            }
            Some((rollout, Pending::Rollback)) => {
                let commands = self.keys.roll_back(&rollout.canary);
                self.run(ctx, "keep the rollback", commands, move |this, _, ctx| {
                    this.shared.lock().written(&rollout, Pending::Rollback);
                    this.share(ctx);
                });
                // Another instance has changed the canary, or this Redis does not support scripts.
                self.read(ctx);
            }
            Some((_, Pending::Nothing)) | None => self.read(ctx),
        }
    }

    fn read(&mut self, ctx: &mut Context<Self>) {
        let commands = self.keys.get();
        self.run(ctx, "read the level", commands, |this, replies, ctx| {
            if let Ok([level, canary]) = <[redis::Value; 2]>::try_from(replies) {
                this.take(level, canary, ctx);
            }
        });
    }

    /// Adopts what Redis contains, unless something newer is being written.
    fn take(&mut self, level: redis::Value, canary: redis::Value, ctx: &mut Context<Self>) {
        let canary = rollout_keys::parse_canary(canary).unwrap_or_else(|error| {
            warn!(key = self.keys.canary(), %error, "redis holds no canary");
            // The running canary continues.
            Canary::clone(&self.directory.published.canary.load())
        });
        let shared = {
            let mut shared = self.shared.lock();
            if shared.is_newer_than(&canary) {
                return;
            }
            shared.rollout()
        };
        let word = redis::from_redis_value::<Option<String>>(level).ok();
        match word.flatten().as_deref().map(str::parse::<Level>) {
            None => {
                // Redis came back empty: the shared rollout is written again, unless another instance has set a newer one by now.
                if let Some(rollout) = shared {
                    let commands = self.keys.set_if_absent(&rollout);
                    self.run(ctx, "keep the level", commands, |_, _, _| {});
                }
            }
            Some(Ok(level)) => {
                let rollout = Rollout { level, canary }.sound();
                self.shared.lock().adopted(rollout.clone());
                if self.directory.published.rollout() != rollout {
                    _ = self.directory.adopt_rollout.tell(AdoptRollout(rollout));
                }
            }
            Some(Err(error)) => {
                warn!(key = self.keys.level(), %error, "redis holds no level");
            }
        }
    }

    /// Runs commands one after the other in a separate task, and passes the replies to `then` if none failed. `what` completes the
    /// log message "redis did not".
    fn run(
        &mut self,
        ctx: &mut Context<Self>,
        what: &'static str,
        commands: Vec<redis::Cmd>,
        then: impl FnOnce(&mut Self, Vec<redis::Value>, &mut Context<Self>) + 'static,
    ) {
        let (Some(link), Some(permit)) = (self.link.clone(), self.commands.acquire()) else {
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
            drop(permit);
            match result {
                Ok(replies) => then(this, replies, ctx),
                Err(trouble) => warn!(%trouble, "redis did not {what}"),
            }
        }));
    }

    fn share_if_connected(&mut self, ctx: &mut Context<Self>) {
        if self.status == RedisLink::Connected {
            self.share(ctx);
        }
    }
}

/// Position in the purge stream from before a restart, read without blocking on a slow disk.
async fn position(store: &Arc<Store>) -> Option<String> {
    let store = Arc::clone(store);
    let read = spawn_blocking(move || store.purge_position()).await;
    read.ok().flatten()
}

/// Stores the position in the purge stream.
async fn set_position(store: &Arc<Store>, id: &str) {
    let (store, id) = (Arc::clone(store), id.to_owned());
    _ = spawn_blocking(move || store.set_purge_position(&id)).await;
}

impl Actor for RedisPool {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.publish();
        if self.settings.url == Target::None {
            return;
        }
        let (target, channel) = (self.settings.url.clone(), self.keys.level().to_owned());
        let subscription = subscription::listen(target, channel, ctx.address().recipient());
        ctx.spawn(subscription.into_actor(self));
        ctx.run_interval(self.tick, |this, ctx| {
            if this.lease.is_revoked() {
                return ctx.stop();
            }
            this.ping(ctx);
            this.publish();
        });
        self.ping(ctx);
    }
}

impl Handler<SaveRollout> for RedisPool {
    type Result = ();

    fn handle(&mut self, SaveRollout(rollout): SaveRollout, ctx: &mut Self::Context) {
        self.shared.lock().set(rollout);
        self.share_if_connected(ctx);
    }
}

impl Handler<SaveRollback> for RedisPool {
    type Result = ();

    fn handle(&mut self, SaveRollback(rollout): SaveRollback, ctx: &mut Self::Context) {
        self.shared.lock().rolled_back(rollout);
        self.share_if_connected(ctx);
    }
}

impl Handler<SharePurge> for RedisPool {
    type Result = ResponseFuture<bool>;

    fn handle(
        &mut self,
        SharePurge { what, soft }: SharePurge,
        _: &mut Self::Context,
    ) -> Self::Result {
        let by = self.instance.clone();
        let add = self.purges.add(&Entry { by, what, soft });
        let link = self.link.clone().zip(self.commands.acquire());
        Box::pin(async move {
            let Some((link, _permit)) = link else {
                return false;
            };
            let added = link.run(&add).await;
            if let Err(trouble) = &added {
                warn!(%trouble, "redis did not take a purge for the other instances");
            }
            added.is_ok()
        })
    }
}

impl Handler<ReadRollout> for RedisPool {
    type Result = ();

    fn handle(&mut self, _: ReadRollout, ctx: &mut Self::Context) {
        self.share_if_connected(ctx);
    }
}

impl Handler<NewLevel> for RedisPool {
    type Result = ();

    fn handle(&mut self, NewLevel(level): NewLevel, _: &mut Self::Context) {
        self.commands.set_most(level.redis_pool);
        self.publish();
    }
}
