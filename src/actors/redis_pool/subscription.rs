//! Listens on the Redis channel that says when the level or the canary changed.

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

/// Longest connect and subscribe, and longest wait for the answer to a ping.
const CONNECT: Duration = Duration::from_secs(2);
/// A connection that was silent for so long is pinged.
const QUIET: Duration = Duration::from_secs(5);
/// Waits before the first, the second and so on new connection in a row; the last one repeats.
const RETRY: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// To the Redis pool: the level or the canary may have changed; read both.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReadRollout;

/// Subscribes to `channel` and says [`ReadRollout`] for every message, and for every new subscription, since messages may
/// have been missed before it. Tries one node after the other, and never ends.
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

/// Passes messages on until the connection ends or does not answer a ping.
async fn hear(feed: PubSub, pool: &Recipient<ReadRollout>) {
    let (mut sink, mut messages) = feed.split();
    loop {
        match timeout(QUIET, messages.next()).await {
            // Full: enough of them are queued.
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
