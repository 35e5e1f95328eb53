//! Viewers of one live stream in real time: each fetches the playlist, then the next segment, as a player does.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use fileproxy_testbed::{
    content::Content,
    playback::{Playback, Progress},
};
use tokio::time::{sleep, sleep_until, timeout_at};

use super::{
    connection::{Client, Delivered},
    event::Event,
    plan::Plan,
    tally::{Summary, Tally, Viewing},
    verdict::{Expected, Outcome, Verdict},
};
use crate::live::{Live, PLAYLIST, WINDOW, segment_path};

/// Segments behind the newest at which a viewer joins, as players do.
const BEHIND: u64 = 3;

/// Runs the viewers; they join within the first segment's time.
pub async fn run(plan: &Plan, live: &Live, lasting: Duration) -> Summary {
    let delivered = Delivered::default();
    let tally = Rc::new(RefCell::new(Tally::new()));
    let start = Instant::now();
    let end = start + lasting;
    Event::Begin.tell();
    let mut tasks = Vec::new();
    for number in 0..plan.clients {
        let mut viewer = Viewer {
            client: plan.client(number, &delivered),
            live: *live,
            seed: plan.seed,
            end,
            tally: Rc::clone(&tally),
            skipped: 0,
        };
        let join = live
            .segment
            .get()
            .mul_f64(number as f64 / plan.clients as f64);
        tasks.push(tokio::task::spawn_local(async move {
            sleep(join).await;
            let joined = Instant::now();
            let mut playback = Playback::new(1, joined);
            viewer.watch(&mut playback).await;
            let progress = playback.progress(end);
            // A player that never started stalled all the time.
            let stalled = match progress.startup {
                Some(_) => progress.stalled,
                None => end.saturating_duration_since(joined),
            };
            let progress = Progress {
                stalled,
                ..progress
            };
            (progress, viewer.skipped)
        }));
    }
    while Instant::now() < end {
        sleep_until((Instant::now() + Duration::from_secs(1)).min(end).into()).await;
        Event::Progress {
            completed: tally.borrow().completed(),
            bytes: delivered.get(),
        }
        .tell();
    }
    let bytes = delivered.get();
    Event::End.tell();
    let mut viewing = Viewing::default();
    let mut startups = Vec::new();
    for task in tasks {
        let Ok((progress, skipped)) = task.await else {
            continue;
        };
        viewing.viewers += 1;
        viewing.played_seconds += progress.played.as_secs_f64();
        viewing.stalled_seconds += progress.stalled.as_secs_f64();
        viewing.stalls += progress.stalls;
        viewing.skipped += skipped;
        match progress.startup {
            Some(startup) => startups.push(startup.as_secs_f64() * 1e3),
            None => viewing.never_started += 1,
        }
    }
    startups.sort_by(f64::total_cmp);
    viewing.startup_p50_ms = startups.get(startups.len() / 2).copied().unwrap_or(0.0);
    viewing.rebuffering =
        viewing.stalled_seconds / (viewing.stalled_seconds + viewing.played_seconds).max(1e-9);
    let counted = std::mem::take(&mut *tally.borrow_mut());
    let mut summary = counted.finish(bytes, lasting);
    summary.viewing = Some(viewing);
    summary
}

struct Viewer {
    client: Client,
    live: Live,
    seed: u64,
    end: Instant,
    tally: Rc<RefCell<Tally>>,
    skipped: u64,
}

impl Viewer {
    /// Watches until the end.
    async fn watch(&mut self, playback: &mut Playback) {
        let segment = self.live.segment.get();
        let mut next = None;
        while Instant::now() < self.end {
            let Some(first) = self.playlist().await else {
                continue;
            };
            let newest = first + WINDOW - 1;
            let mut number = *next.get_or_insert((newest + 1).saturating_sub(BEHIND));
            if number < first {
                // Too late: the segment is gone from the playlist. Go on where one would join now.
                let again = newest + 1 - BEHIND;
                self.skipped += again - number;
                number = again;
                next = Some(again);
            }
            if number > newest {
                // All known segments are here; look again after half a segment, as RFC 8216 (6.3.4) allows.
                self.pause(segment / 2).await;
                continue;
            }
            let path = segment_path(number);
            let content = Content::seeded(self.seed, &path);
            let expected = Expected::File {
                content,
                length: self.live.segment_bytes(),
                from: 0,
            };
            let Some(outcome) = self.get(&path, &expected).await else {
                return;
            };
            if outcome.verdict == Verdict::Completed {
                playback.load(segment, Instant::now().min(self.end));
                next = Some(number + 1);
            } else {
                self.pause(Duration::from_secs(1)).await;
            }
        }
    }

    /// The first number of the playlist; a playlist that is not one of the stream's counts as wrong.
    async fn playlist(&mut self) -> Option<u64> {
        let mut outcome = {
            let end = self.end;
            timeout_at(end.into(), self.client.get(PLAYLIST, &Expected::Text))
                .await
                .ok()?
        };
        let first = self.live.first_of(&outcome.text);
        if outcome.verdict == Verdict::Completed && first.is_none() {
            outcome.verdict = Verdict::Wrong("a playlist that the stream does not have");
        }
        self.count(&outcome);
        if outcome.verdict != Verdict::Completed {
            self.pause(Duration::from_secs(1)).await;
        }
        first
    }

    /// A request, unless the end comes before its answer.
    async fn get(&mut self, path: &str, expected: &Expected) -> Option<Outcome> {
        let outcome = timeout_at(self.end.into(), self.client.get(path, expected))
            .await
            .ok()?;
        self.count(&outcome);
        Some(outcome)
    }

    fn count(&self, outcome: &Outcome) {
        let mut tally = self.tally.borrow_mut();
        tally.add(outcome);
        if outcome.verdict == Verdict::Completed {
            tally.completed_within();
        }
    }

    async fn pause(&self, length: Duration) {
        sleep_until((Instant::now() + length).min(self.end).into()).await;
    }
}
