//! What the tests share: the whole proxy, an origin and a client made of raw sockets, an instance with actors and
//! endpoints alone, and a real Redis.

pub mod browser;
pub mod certificate;
pub mod client;
pub mod instance;
pub mod manifests;
pub mod message;
pub mod need;
pub mod origin;
pub mod program;
pub mod proxy;
pub mod redis_server;
pub mod secure;
pub mod sockets;
pub mod source_file;

use std::{
    future::Future,
    thread,
    time::{Duration, Instant},
};

/// Longer than anything takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Asks again and again until the answer is some; panics with `what` after the deadline.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            began.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The same for tests that wait on a thread.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(DEADLINE, what, ask)
}

/// The same for what takes longer.
pub fn until_within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
