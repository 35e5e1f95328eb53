//! Listens on the Redis channel that announces changes of level and canary.

use std::time::Duration;

use actix::{Message, Recipient};
use futures_util::StreamExt;
use redis::{
    RedisResult,
    aio::{PubSub, PubSubSink},
};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::target::Target;

/// Timeout for connecting and subscribing, and for the reply to a ping.
const CONNECT: Duration = Duration::from_secs(2);
/// Time without a message after which the connection is pinged.
const QUIET: Duration = Duration::from_secs(5);
/// Delays before successive reconnects; the last one repeats.
const RETRY: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// To the Redis pool: level or canary may have changed; read both.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReadRollout;

/// Subscribes to `channel` and sends [`ReadRollout`] for every message, and for every new subscription, because messages may have
/// been lost before it. Tries one node after the other, and never ends.
pub(super) async fn listen(target: Target, channel: String, pool: Recipient<ReadRollout>) {
    let mut failures = 0;
    for node in target.nodes().iter().cycle() {
        match timeout(CONNECT, subscribe(node, &channel)).await {
            Ok(Ok(subscribed)) => {
                failures = 0;
                pool.do_send(ReadRollout);
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

/// Forwards messages until the connection ends or does not answer a ping.
async fn hear(feed: PubSub, pool: &Recipient<ReadRollout>) {
    let (mut sink, mut messages) = feed.split();
    loop {
        match timeout(QUIET, messages.next()).await {
            // If it is full, enough of them are queued.
            Ok(Some(_)) => _ = pool.try_send(ReadRollout),
            Ok(None) => return,
            Err(_) if answers(&mut sink).await => {}
            Err(_) => return,
        }
    }
}

async fn answers(sink: &mut PubSubSink) -> bool {
    matches!(timeout(CONNECT, sink.ping::<()>()).await, Ok(Ok(())))
}
