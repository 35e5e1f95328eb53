//! A part of an object on its way from the origin.

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

/// What is to be done before a part of an object is handed out.
#[derive(Debug)]
pub enum Claim {
    /// Nothing: all of it is here, or sure to come.
    Sure,
    /// This is to be fetched, by whoever claimed it.
    Fetch(Fill),
    /// Somebody else asked for it in vain.
    Failed,
}

impl Claim {
    /// The first part of `part` of `object` that is neither here nor sure to come, for the caller to fetch. Waits while somebody else
    /// asks the origin for it; where that was in vain it is not tried again: who waits must not be held up by one after the other.
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

/// A part of an object that is being fetched. Dropped, what it has not brought is missing, and whoever waits for it is woken.
#[derive(Debug)]
pub struct Fill {
    object: Arc<Object>,
    number: u64,
    complete: bool,
}

impl Fill {
    /// Begins to fetch `part` of `object`; none where its first byte is here, on disk or on its way. See [`Body::begin`].
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

    /// The object that it is a part of.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// What is still to be fetched; none once all of it came.
    pub fn left(&self) -> Option<Range<u64>> {
        self.object.contents().body.left(self.number)
    }

    /// The origin has said that it gives what this is for.
    pub fn confirm(&self) {
        self.object.contents().body.confirm(self.number);
        self.object.has_filled();
    }

    /// Takes room for a piece of so many bytes. False: there is none, and something must go first.
    pub fn take_room(&self, bytes: usize) -> bool {
        self.object.contents().room.grow(bytes as u64)
    }

    /// Puts a piece where the one before ended; room for it was taken. The extent that begins with it, if one does.
    pub fn write(&self, piece: Bytes) -> Option<u64> {
        self.object.failed_fills.store(0, Relaxed);
        let len = piece.len() as u64;
        let (waiting, begun, blocks, disk) = {
            let mut contents = self.object.contents();
            let at = contents.body.left(self.number).map(|left| left.start);
            let before = contents.body.held();
            let waiting = contents.body.write(self.number, piece);
            // What went over the end was not taken.
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

    /// The response ended by its own framing: this is the end of the body.
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
            // The last block of a body whose length was not known till now.
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
