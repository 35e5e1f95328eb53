//! Memory limit for parts of bodies, over all transfers of one origin.

use std::sync::Arc;

use crate::traffic::counters::OriginCounters;

/// Counts the bytes that parts hold, up to a limit.
#[derive(Debug)]
pub struct Memory {
    counters: Arc<OriginCounters>,
    most: u64,
}

impl Memory {
    /// A limit of `most` bytes.
    pub fn new(most: u64, counters: Arc<OriginCounters>) -> Arc<Self> {
        Arc::new(Memory { counters, most })
    }

    /// Reserves bytes, if they are within the limit.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let held = &self.counters.parts_held;
        held.up_within(bytes, self.most).then(|| Room {
            memory: Arc::clone(self),
            bytes,
        })
    }
}

/// Reserved bytes; released on drop.
#[derive(Debug)]
pub(super) struct Room {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Room {
    /// Splits off part of the reservation.
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
