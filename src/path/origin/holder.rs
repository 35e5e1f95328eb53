//! What one exchange waits for, as the exchange says it and the queue of those who wait for a slot reads it. No lock:
//! an exchange changes it at every turn of its body.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    task::Waker,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;

/// What one exchange with a slot waits for. The exchange writes it, the queue reads it.
#[derive(Debug)]
pub(super) struct Holder {
    /// Times are counted from here.
    epoch: Instant,
    /// Zero while bytes move. Else since when they do not, in nanoseconds, times two; and one more if it is the client
    /// that is waited for, not the origin.
    waits: AtomicU64,
    state: AtomicU8,
    /// A [`Yields`].
    yields: AtomicU8,
    asked: AtomicBool,
    /// Whether it will bring more than most.
    large: AtomicBool,
    answered: AtomicBool,
    /// Wakes the exchange when its connection is asked for.
    waker: AtomicWaker,
}

/// Whether an exchange has its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SlotState {
    /// It has.
    Held,
    /// It goes on without one: its slot went to an exchange that can use it now.
    Beyond,
    /// It has neither a slot nor a connection: it gave that up, and asks for the rest of its body later.
    GivenUp,
}

/// What an exchange that waits for its client does when its connection is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Yields {
    /// Nothing: it cannot be asked.
    Never,
    /// It ends: the client loses the rest.
    ByEnding,
    /// It goes on over another connection later: the client loses nothing.
    ByRange,
}

/// For what an exchange waits, and how long already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Nothing: bytes move.
    No,
    /// For bytes of the origin, for so long.
    Origin(Duration),
    /// For the client to take or send bytes, for so long.
    Client(Duration),
}

impl Holder {
    /// An exchange with a slot, which waits for the origin.
    pub(super) fn new(epoch: Instant, now: Instant) -> Self {
        let holder = Holder {
            epoch,
            waits: AtomicU64::new(0),
            state: AtomicU8::new(SlotState::Held as u8),
            yields: AtomicU8::new(Yields::Never as u8),
            asked: AtomicBool::new(false),
            large: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        };
        holder.wait_from(now, false);
        holder
    }

    /// Notes that it waits from now on, for its client or for the origin. Returns what it waited for before, or none where it
    /// waits for the same already.
    pub(super) fn wait(&self, for_client: bool) -> Option<Waits> {
        let waits = self.waits.load(Relaxed);
        if waits != 0 && (waits & 1 == 1) == for_client {
            return None;
        }
        let now = Instant::now();
        let before = self.waits(now);
        self.wait_from(now, for_client);
        Some(before)
    }

    fn wait_from(&self, now: Instant, for_client: bool) {
        let nanos = now.saturating_duration_since(self.epoch).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).max(1);
        self.waits
            .store(nanos << 1 | u64::from(for_client), Relaxed);
    }

    /// Notes that bytes move. Returns whether it had waited for its client until now, or none where it had not waited.
    pub(super) fn moves(&self) -> Option<bool> {
        // Most calls change nothing.
        if self.waits.load(Relaxed) == 0 {
            return None;
        }
        Some(self.waits.swap(0, Relaxed) & 1 == 1)
    }

    /// What it waits for at `now`.
    pub(super) fn waits(&self, now: Instant) -> Waits {
        let waits = self.waits.load(Relaxed);
        if waits == 0 {
            return Waits::No;
        }
        let since = self.epoch + Duration::from_nanos(waits >> 1);
        let waited = now.saturating_duration_since(since);
        if waits & 1 == 1 {
            Waits::Client(waited)
        } else {
            Waits::Origin(waited)
        }
    }

    /// Whether it has its slot.
    pub(super) fn state(&self) -> SlotState {
        match self.state.load(Relaxed) {
            0 => SlotState::Held,
            1 => SlotState::Beyond,
            _ => SlotState::GivenUp,
        }
    }

    pub(super) fn set_state(&self, state: SlotState) {
        self.state.store(state as u8, Relaxed);
    }

    /// What it does when its connection is asked for.
    pub(super) fn yields(&self) -> Yields {
        match self.yields.load(Relaxed) {
            0 => Yields::Never,
            1 => Yields::ByEnding,
            _ => Yields::ByRange,
        }
    }

    pub(super) fn set_yields(&self, yields: Yields) {
        self.yields.store(yields as u8, Relaxed);
    }

    /// The exchange is woken by this when its connection is asked for.
    pub(super) fn wake_by(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Asks it for its connection, and wakes it.
    pub(super) fn ask(&self) {
        self.asked.store(true, Relaxed);
        self.waker.wake();
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    pub(super) fn forget_asked(&self) {
        self.asked.store(false, Relaxed);
    }

    /// Notes that the response head is here, and whether the body will be large.
    pub(super) fn answered(&self, is_large: bool) {
        self.answered.store(true, Relaxed);
        if is_large {
            self.large.store(true, Relaxed);
        }
    }

    pub(super) fn set_large(&self) {
        self.large.store(true, Relaxed);
    }

    pub(super) fn is_large(&self) -> bool {
        self.large.load(Relaxed)
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Relaxed)
    }
}
