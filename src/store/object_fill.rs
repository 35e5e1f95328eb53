//! A range of an object that is being fetched from the origin.

use std::{
    ops::Range,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Waker,
};

use bytes::Bytes;

use super::{body::BLOCK, contents::write, object::Object};

/// What is needed before a range of an object can be sent.
#[derive(Debug)]
pub enum Claim {
    /// Nothing: all of it is present or confirmed.
    Sure,
    /// This must be fetched, by the caller.
    Fetch(Fill),
    /// Another request for it failed.
    Failed,
}

impl Claim {
    /// Claims the first part of `part` of `object` that is neither present nor confirmed, to be fetched by the caller. Waits while
    /// another request asks the origin for it; if that fails it is not retried, so that a client does not wait for one failure
    /// after the other.
    pub async fn of(object: &Arc<Object>, part: Range<u64>) -> Self {
        let mut waited = None;
        loop {
            let mut filled = pin!(object.when_filled());
            filled.as_mut().enable();
            let Some(at) = object.contents().unsure(&part) else {
                return Claim::Sure;
            };
            if waited == Some(at) && !object.contents().body.is_filling_at(at) {
                return Claim::Failed;
            }
            if let Some(fill) = Fill::of(object, at..part.end) {
                return Claim::Fetch(fill);
            }
            waited = Some(at);
            filled.await;
        }
    }
}

/// A range of an object that is being fetched. When it is dropped, bytes that have not arrived are missing, and waiting readers are
/// woken.
#[derive(Debug)]
pub struct Fill {
    object: Arc<Object>,
    number: u64,
    complete: bool,
}

impl Fill {
    /// Begins to fetch `part` of `object`; none if its first byte is in memory, on disk, or being fetched. See [`Body::begin`].
    ///
    /// [`Body::begin`]: super::body::Body::begin
    pub fn of(object: &Arc<Object>, part: Range<u64>) -> Option<Self> {
        let number = {
            let mut contents = object.contents();
            let end = contents
                .stored_from(part.start)
                .map_or(part.end, |stored| stored.min(part.end));
            if end <= part.start {
                return None;
            }
            contents.body.begin(part.start..end)?
        };
        Some(Fill {
            object: Arc::clone(object),
            number,
            complete: false,
        })
    }

    /// The object it belongs to.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// From the first to the last byte that must still be fetched; none if complete.
    pub fn left(&self) -> Option<Range<u64>> {
        self.object.contents().body.left(self.number)
    }

    /// The origin has confirmed that it sends this range.
    pub fn confirm(&self) {
        self.object.contents().body.confirm(self.number);
        self.object.has_filled();
    }

    /// Reserves memory for a piece. False if something must be evicted first.
    pub fn take_room(&self, bytes: usize) -> bool {
        self.object.contents().room.grow(bytes as u64)
    }

    /// Adds bytes at `at` whose memory is reserved. Returns the extents that begin with them.
    pub fn write(&self, at: u64, bytes: &Bytes) -> Vec<u64> {
        let len = bytes.len() as u64;
        let (waiting, begun, blocks, disk) = {
            let mut contents = self.object.contents();
            let before = contents.body.held();
            let waiting = contents.body.write(self.number, at, bytes);
            let added = contents.body.held() - before;
            contents.room.shrink(len - added);
            if added == 0 {
                return Vec::new();
            }
            let part = at..at + len;
            let begun = contents.begin_extents(&part);
            let disk = contents.disk.clone();
            let blocks = match &disk {
                Some(_) => contents.completed(&part),
                None => Vec::new(),
            };
            (waiting, begun, blocks, disk)
        };
        self.object.failed_fills.store(0, Relaxed);
        waiting.into_iter().for_each(Waker::wake);
        if let Some(handle) = disk {
            for (number, pieces) in blocks {
                write(&handle, number, pieces);
            }
        }
        begun
    }

    /// It does not bring `part` after all: readers find that missing.
    pub fn pass(&self, part: Range<u64>) {
        let waiting = self.object.contents().body.pass(self.number, part);
        waiting.into_iter().for_each(Waker::wake);
        self.object.has_filled();
    }

    /// The response ended by its own framing, at the end of the body.
    pub fn complete(mut self) {
        self.complete = true;
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let (waiting, disk, length, last) = {
            let mut contents = self.object.contents();
            let was_known = contents.body.length().is_some();
            let waiting = contents.body.end(self.number, self.complete);
            let length = contents.body.length().filter(|_| !was_known);
            // The last block of a body whose length was unknown so far.
            let last = length.and_then(|length| {
                let number = length / BLOCK;
                Some((number, contents.body.block(number)?))
            });
            (waiting, contents.disk.clone(), length, last)
        };
        waiting.into_iter().for_each(Waker::wake);
        self.object.has_filled();
        if let (Some(handle), Some(length)) = (disk, length) {
            handle.set_length(length);
            if let Some((number, pieces)) = last {
                write(&handle, number, pieces);
            }
        }
    }
}
