//! The writer's part of purges: makes them durable and processes them.

use std::{
    io,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    purge::{Purge, What},
    record::Record,
    shared::Purged,
    sweep::Sweep,
    writer::Writer,
};

/// How long a purge is processed before it is confirmed; the rest is done afterwards.
const SWEEP: Duration = Duration::from_secs(1);

impl Writer {
    /// Makes a purge durable, processes it for a while, and replies.
    pub(super) fn purge(
        &mut self,
        mut purge: Purge,
        gone: Purged,
        reply: oneshot::Sender<Option<Purged>>,
    ) {
        if purge.serial == 0 {
            // It was requested while the journal was read.
            let mut held = self.shared.held();
            purge.serial = held.index.next_serial();
            let unnumbered = held.purges.iter_mut().find(|known| known.serial == 0);
            if let Some(known) = unnumbered {
                known.serial = purge.serial;
            }
        }
        let is_all = purge.what == What::All && !purge.soft;
        let mut gone = gone;
        if is_all {
            let mut held = self.shared.held();
            gone.objects += held.index.objects() as u64;
            gone.bytes += held.index.bytes();
            gone.complete = true;
            held.index.clear();
            held.purges.clear();
            self.sweep = None;
            self.shared.may_have_orphans.store(true, Relaxed);
        }
        let serial = purge.serial;
        let appended = self.append(&Record::Purge(purge));
        let synced = appended.and_then(|_| match &self.journal {
            Some(journal) => journal.sync(),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        if let Err(error) = synced {
            self.shared.lacking.store(true, Relaxed);
            self.fail(&error);
            // If nothing can be written, the whole journal can still be removed: then nothing purged is restored either.
            if let Err(error) = self.directory().forget_journal() {
                tracing::warn!(%error, "a purge may come undone by a restart");
                _ = reply.send(None);
                return;
            }
        }
        if !is_all {
            gone = self.sweep_now(serial);
        }
        // The requester may have left.
        _ = reply.send(Some(gone));
    }

    /// Processes the purge with this serial number for a while.
    fn sweep_now(&mut self, serial: u64) -> Purged {
        let own: Vec<Purge> = {
            let held = self.shared.held();
            let own = held.purges.iter().filter(|purge| purge.serial == serial);
            own.cloned().collect()
        };
        let mut sweep = Sweep::new(own);
        let end = Instant::now() + SWEEP;
        loop {
            let is_over = self.sweep_step(&mut sweep);
            if is_over {
                self.swept(&sweep);
                sweep.gone.complete = true;
                return sweep.gone;
            }
            if Instant::now() >= end {
                // One pass for all remaining purges.
                self.begin_sweep();
                return sweep.gone;
            }
        }
    }

    pub(super) fn begin_sweep(&mut self) {
        let purges = self.shared.held().purges.clone();
        self.sweep = (!purges.is_empty()).then(|| Sweep::new(purges));
    }

    pub(super) fn step_sweep(&mut self, mut sweep: Sweep) {
        if self.sweep_step(&mut sweep) {
            self.swept(&sweep);
        } else if self.sweep.is_none() {
            self.sweep = Some(sweep);
        }
    }

    /// One step; returns whether it was the last one.
    fn sweep_step(&mut self, sweep: &mut Sweep) -> bool {
        let (found, is_over) = sweep.step(&self.shared);
        for (place, mut head, stale_since) in found {
            let mut held = self.shared.held();
            let bytes = held.index.bytes_of(place);
            match stale_since {
                None => {
                    let Some(file) = held.index.doom(place) else {
                        continue;
                    };
                    drop(held);
                    // Not through the queue: it must be in the journal before the purge counts as processed.
                    self.must_append(&Record::Gone { id: place.id });
                    if let Some(bytes) = file {
                        self.remove(place.id, bytes);
                    }
                }
                Some(since) => {
                    head.freshness.expire(since);
                    head.serial = held.index.next_serial();
                    drop(held);
                    self.head(place, &head);
                }
            }
            sweep.gone.objects += 1;
            sweep.gone.bytes += bytes;
        }
        is_over
    }

    /// Records that these purges are processed.
    fn swept(&mut self, sweep: &Sweep) {
        for purge in sweep.purges() {
            let serial = purge.serial;
            self.must_append(&Record::Swept { serial });
            let mut held = self.shared.held();
            held.purges.retain(|purge| purge.serial != serial);
        }
    }
}
