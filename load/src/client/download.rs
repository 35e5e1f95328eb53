//! One client, one large file.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::{
    connection::Delivered,
    event::Event,
    plan::Plan,
    tally::{Summary, Tally},
    verdict::{Expected, Verdict},
};
use crate::catalog::File;

/// Runs the download; at the limit, what came so far is the result.
pub async fn run(plan: &Plan, length: u64, limit: Duration) -> Summary {
    let delivered = Delivered::default();
    let file = File::new(length, "download");
    let expected = Expected::File {
        content: file.content(plan.seed),
        length,
        from: 0,
    };
    let mut client = plan.client(0, &delivered);
    let mut tally = Tally::new();
    Event::Begin.tell();
    let start = Instant::now();
    let mut arrivals = Vec::new();
    let mut tick = interval(Duration::from_millis(250));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut get = Box::pin(client.get(&file.path, &expected));
    let limit = tokio::time::sleep(limit);
    tokio::pin!(limit);
    loop {
        tokio::select! {
            outcome = &mut get => {
                tally.add(&outcome);
                if outcome.verdict == Verdict::Completed {
                    tally.completed_within();
                }
                break;
            }
            () = &mut limit => {
                tally.unfinished(start.elapsed());
                break;
            }
            _ = tick.tick() => {
                arrivals.push((start.elapsed().as_secs_f64(), delivered.get()));
                Event::Progress { completed: 0, bytes: delivered.get() }.tell();
            }
        }
    }
    let lasting = start.elapsed();
    arrivals.push((lasting.as_secs_f64(), delivered.get()));
    Event::End.tell();
    let mut summary = tally.finish(delivered.get(), lasting);
    summary.arrivals = arrivals;
    summary
}
