//! Listens for changes of the level.

use std::time::Duration;

use actix::Addr;
use futures_util::StreamExt;
use redis::{
    RedisResult,
    aio::{PubSub, PubSubSink},
};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{ReadLevel, RedisPool, Target};

const CONNECT: Duration = Duration::from_secs(2);
/// A connection that says nothing is asked so often whether it is still there.
const QUIET: Duration = Duration::from_secs(5);
const RETRY: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// Says [`ReadLevel`] for every message, and for every new subscription, since messages may have been missed. Never
/// ends; tries one node after another.
pub(super) async fn listen(target: Target, channel: String, pool: Addr<RedisPool>) {
    let mut failures = 0;
    for node in target.nodes().iter().cycle() {
        match timeout(CONNECT, subscribe(node, &channel)).await {
            Ok(Ok(subscribed)) => {
                failures = 0;
                pool.do_send(ReadLevel);
                hear(subscribed, &pool).await;
                debug!("redis feed ended");
            }
            Ok(Err(error)) => debug!(%error, "redis feed refused"),
            Err(_) => debug!("redis feed not connected in time"),
        }
        sleep(RETRY[failures.min(RETRY.len() - 1)]).await;
        failures += 1;
    }
}

async fn subscribe(node: &str, channel: &str) -> RedisResult<PubSub> {
    let mut feed = redis::Client::open(node)?.get_async_pubsub().await?;
    feed.subscribe(channel).await?;
    Ok(feed)
}

async fn hear(feed: PubSub, pool: &Addr<RedisPool>) {
    let (mut sink, mut messages) = feed.split();
    loop {
        match timeout(QUIET, messages.next()).await {
            Ok(Some(_)) => _ = pool.try_send(ReadLevel), // full: enough of them are waiting
            Ok(None) => return,
            Err(_) if answers(&mut sink).await => {}
            Err(_) => return,
        }
    }
}

async fn answers(sink: &mut PubSubSink) -> bool {
    matches!(timeout(CONNECT, sink.ping::<()>()).await, Ok(Ok(())))
}
