//! Sends the samples of a worker thread to the metrics window in batches, without ever waiting.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use actix::prelude::SendError;
use tokio::sync::Notify;

use super::{directory::Directory, messages::Samples};
use crate::traffic::sample::Sample;

/// Reports the samples of one worker thread. Clones share one batch.
#[derive(Clone)]
pub struct Reporter(Rc<Batch>);

struct Batch {
    samples: RefCell<Vec<Sample>>,
    directory: Arc<Directory>,
    /// Wakes the task that sends a batch that does not fill up.
    begun: Rc<Notify>,
}

impl Reporter {
    /// Samples in a full batch.
    const BATCH: usize = 64;
    /// How long a batch may take to fill up before it is sent anyway.
    const PAUSE: Duration = Duration::from_millis(100);
    /// The most samples that are kept while the window is being replaced. Further ones are dropped and counted.
    const KEPT: usize = 1024;

    pub(super) fn new(directory: Arc<Directory>) -> Self {
        let begun = Rc::new(Notify::new());
        let batch = Rc::new(Batch {
            samples: RefCell::new(Vec::with_capacity(Self::BATCH)),
            directory,
            begun: begun.clone(),
        });
        let weak = Rc::downgrade(&batch);
        actix_rt::spawn(async move {
            // Sleeps while nothing is reported.
            loop {
                begun.notified().await;
                tokio::time::sleep(Self::PAUSE).await;
                match weak.upgrade() {
                    Some(batch) => batch.hand_over(),
                    None => return,
                }
            }
        });
        Self(batch)
    }

    /// Reports one finished request. This only appends to a list: the batch is sent when it is full, or after 100 ms.
    pub fn report(&self, sample: Sample) {
        let reported = {
            let mut samples = self.0.samples.borrow_mut();
            samples.push(sample);
            samples.len()
        };
        if reported == 1 {
            self.0.begun.notify_one();
        }
        if reported.is_multiple_of(Self::BATCH) {
            self.0.hand_over();
        }
    }
}

impl Batch {
    fn hand_over(&self) {
        let samples = self.samples.replace(Vec::with_capacity(Reporter::BATCH));
        if samples.is_empty() {
            return;
        }
        match self.directory.samples.tell(Samples(samples)) {
            Ok(()) => {}
            // The window is being replaced: try again, as long as there is space.
            Err(SendError::Closed(Samples(samples))) if samples.len() < Reporter::KEPT => {
                self.samples.replace(samples);
                self.begun.notify_one();
            }
            Err(SendError::Closed(Samples(samples)) | SendError::Full(Samples(samples))) => {
                let dropped = &self.directory.published.clients.samples_dropped;
                dropped.add(samples.len() as u64);
            }
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.hand_over();
        // Its task wakes up, finds the batch dropped and ends.
        self.begun.notify_one();
    }
}
