//! Many clients, each asking for one file after the other.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use fileproxy_testbed::random::Random;
use tokio::time::{sleep, sleep_until, timeout_at};

use super::{
    connection::Delivered,
    event::Event,
    plan::Plan,
    tally::{Summary, Tally},
    verdict::{Expected, Outcome, Verdict},
};
use crate::catalog::{Catalog, Files};

/// Pause of a client after a request that brought nothing, so that errors are not asked for at full speed.
const PAUSE: Duration = Duration::from_secs(1);

struct Window {
    begin: Instant,
    end: Instant,
}

/// A request under way. Dropped before its end, it is counted as unfinished.
struct UnderWay<'a> {
    tally: &'a RefCell<Tally>,
    begun: Instant,
    counted: bool,
}

impl<'a> UnderWay<'a> {
    fn begin(window: &Window, tally: &'a RefCell<Tally>) -> Self {
        let begun = Instant::now();
        UnderWay {
            tally,
            begun,
            counted: begun >= window.begin,
        }
    }

    fn end(mut self, window: &Window, outcome: &Outcome) {
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        let in_time = (window.begin..window.end).contains(&now);
        if in_time && outcome.verdict == Verdict::Completed {
            tally.completed_within();
        }
        if std::mem::take(&mut self.counted) {
            tally.add(outcome);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.tally.borrow_mut().unfinished(self.begun.elapsed());
        }
    }
}

/// Runs the mix.
pub async fn run(
    plan: &Plan,
    files: &Files,
    warmup: Duration,
    lasting: Duration,
    grace: Duration,
) -> Summary {
    let catalog = Rc::new(Catalog::new(files, plan.seed));
    let delivered = Delivered::default();
    let tally = Rc::new(RefCell::new(Tally::new()));
    let start = Instant::now();
    let window = Rc::new(Window {
        begin: start + warmup,
        end: start + warmup + lasting,
    });
    let mut tasks = Vec::new();
    for number in 0..plan.clients {
        let mut client = plan.client(number, &delivered);
        let (catalog, tally, window) = (Rc::clone(&catalog), Rc::clone(&tally), Rc::clone(&window));
        let seed = plan.seed;
        let mut random = Random::new(seed ^ (number as u64 + 1).wrapping_mul(0x1_0001));
        let ramp = warmup
            .min(Duration::from_secs(5))
            .mul_f64(number as f64 / plan.clients as f64);
        tasks.push(tokio::task::spawn_local(async move {
            sleep(ramp).await;
            while Instant::now() < window.end {
                let file = catalog.pick(&mut random);
                let expected = Expected::File {
                    content: file.content(seed),
                    length: file.length,
                    from: 0,
                };
                let under_way = UnderWay::begin(&window, &tally);
                let outcome = client.get(&file.path, &expected).await;
                under_way.end(&window, &outcome);
                if outcome.verdict != Verdict::Completed {
                    sleep(PAUSE.min(window.end.saturating_duration_since(Instant::now()))).await;
                }
            }
        }));
    }
    sleep_until(window.begin.into()).await;
    Event::Begin.tell();
    let before = delivered.get();
    while Instant::now() < window.end {
        let next = Instant::now() + Duration::from_secs(1);
        sleep_until(next.min(window.end).into()).await;
        Event::Progress {
            completed: tally.borrow().completed(),
            bytes: delivered.get() - before,
        }
        .tell();
    }
    let bytes = delivered.get() - before;
    Event::End.tell();
    let limit = window.end + grace;
    for task in &mut tasks {
        if timeout_at(limit.into(), &mut *task).await.is_err() {
            task.abort();
            _ = task.await;
        }
    }
    let counted = std::mem::take(&mut *tally.borrow_mut());
    counted.finish(bytes, lasting)
}
