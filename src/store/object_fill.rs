//! A range of an object that is being fetched from the origin.

use std::{
    ops::Range,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Waker,
};

use bytes::Bytes;

use super::{
    body::BLOCK,
    contents::{EXTENT, write},
    object::Object,
};

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

    /// The range that must still be fetched; none if complete.
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

    /// Appends a piece whose memory is reserved. Returns the extent that begins with it, if one does.
    pub fn write(&self, piece: Bytes) -> Option<u64> {
        self.object.failed_fills.store(0, Relaxed);
        let len = piece.len() as u64;
        let (waiting, begun, blocks, disk) = {
            let mut contents = self.object.contents();
            let at = contents.body.left(self.number).map(|left| left.start);
            let before = contents.body.held();
            let waiting = contents.body.write(self.number, piece);
            // Bytes beyond the end were dropped.
            let over = len - (contents.body.held() - before);
            contents.room.shrink(over);
            let begun = at.and_then(|at| {
                let extent = at / EXTENT;
                let is_new = !contents.uses.contains_key(&extent);
                is_new.then(|| {
                    contents.uses.insert(extent, 0);
                    extent
                })
            });
            let disk = contents.disk.clone();
            let blocks = match (at, &disk) {
                (Some(at), Some(_)) => contents.completed(at, self.number),
                _ => Vec::new(),
            };
            (waiting, begun, blocks, disk)
        };
        waiting.into_iter().for_each(Waker::wake);
        if let Some(handle) = disk {
            for (number, pieces) in blocks {
                write(&handle, number, pieces);
            }
        }
        begun
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
