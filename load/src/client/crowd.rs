//! Runs a plan with all its clients.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::{task::LocalSet, time::sleep};

use super::{
    connection::{Client, Delivered},
    download,
    event::Event,
    mix,
    plan::{Plan, Work},
    verdict::{Expected, Verdict},
    viewers,
};
use crate::catalog::File;

/// Waits for the proxy, does the work and tells the result.
///
/// # Errors
///
/// The proxy never gave a right answer.
pub async fn run(plan: &Plan) -> Result<()> {
    ready(plan).await?;
    Event::Ready.tell();
    let tasks = LocalSet::new();
    let summary = tasks
        .run_until(async {
            match &plan.work {
                Work::Mix {
                    files,
                    warmup,
                    lasting,
                    grace,
                } => mix::run(plan, files, warmup.get(), lasting.get(), grace.get()).await,
                Work::Download { size, limit } => {
                    download::run(plan, size.bytes(), limit.get()).await
                }
                Work::Viewers { live, lasting } => viewers::run(plan, live, lasting.get()).await,
            }
        })
        .await;
    Event::Result {
        summary: Box::new(summary),
    }
    .tell();
    Ok(())
}

/// Asks for a small file until it comes.
async fn ready(plan: &Plan) -> Result<()> {
    let file = File::new(64, "ready");
    let expected = Expected::File {
        content: file.content(plan.seed),
        length: file.length,
        from: 0,
    };
    let start = Instant::now();
    let mut client = Client::new(
        plan.proxy,
        plan.addresses.first().copied(),
        Duration::from_secs(10),
        Delivered::default(),
    );
    loop {
        let outcome = client.get(&file.path, &expected).await;
        if outcome.verdict == Verdict::Completed {
            return Ok(());
        }
        if start.elapsed() > plan.ready_within.get() {
            bail!(
                "no right answer within {}: {:?}, status {}",
                plan.ready_within,
                outcome.verdict,
                outcome.status
            );
        }
        sleep(Duration::from_millis(100)).await;
    }
}
