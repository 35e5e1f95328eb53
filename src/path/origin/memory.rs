//! The memory that parts of bodies may take, over all transfers.

use std::sync::Arc;

use crate::traffic::counters::OriginCounters;

/// Bytes that parts may hold, over all transfers.
#[derive(Debug)]
pub struct Memory {
    counters: Arc<OriginCounters>,
    most: u64,
}

impl Memory {
    /// Room for so many bytes.
    pub fn new(most: u64, counters: Arc<OriginCounters>) -> Arc<Self> {
        Arc::new(Memory { counters, most })
    }

    /// Room for so many bytes, if there is as much.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let held = &self.counters.parts_held;
        held.up_within(bytes, self.most).then(|| Room {
            memory: Arc::clone(self),
            bytes,
        })
    }
}

/// Room that is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Room {
    /// Gives a part of it to somebody else.
    pub(super) fn split_off(&mut self, bytes: u64) -> Option<Room> {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Some(Room {
            memory: Arc::clone(&self.memory),
            bytes,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.counters.parts_held.down_by(self.bytes);
    }
}
