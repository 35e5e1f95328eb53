//! The state of one exchange that the slot queue needs to know: what it waits for, and whether it can be interrupted. Lock-free,
//! because an exchange updates it with every piece of its body.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    task::Waker,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;

/// State of one exchange with a slot. Written by the exchange, read by the queue.
#[derive(Debug)]
pub(super) struct Holder {
    /// Reference for the times below.
    epoch: Instant,
    /// 0 while bytes move. Otherwise the start of the wait in nanoseconds since `epoch`, times two; plus one if it waits for the
    /// client, not the origin.
    waits: AtomicU64,
    state: AtomicU8,
    /// A [`Yields`] as a number.
    yields: AtomicU8,
    asked: AtomicBool,
    /// Whether the response will be large.
    large: AtomicBool,
    answered: AtomicBool,
    /// Wakes the exchange when it must give up its connection.
    waker: AtomicWaker,
}

/// Whether an exchange holds its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SlotState {
    /// It does.
    Held,
    /// No: it continues without a slot, which went to another exchange.
    Beyond,
    /// It has neither a slot nor a connection: it gave both up, and requests the rest of its body later.
    GivenUp,
}

/// What an exchange that waits for its client does when its connection is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Yields {
    /// Keeps it.
    Never,
    /// Ends: the client's response is cut.
    ByEnding,
    /// Continues later over another connection by Range: the client loses nothing.
    ByRange,
}

/// What an exchange waits for, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Nothing: bytes move.
    No,
    /// The origin, to send bytes.
    Origin(Duration),
    /// The client, to read or send bytes.
    Client(Duration),
}

impl Holder {
    /// For an exchange that got a slot at `now` and waits for the origin. Times are counted from `epoch`.
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

    /// Starts waiting for the client or the origin. Returns what it waited for before; none if for the same.
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

    /// Bytes move again. Returns whether it waited for its client; none if it did not wait.
    pub(super) fn moves(&self) -> Option<bool> {
        // Usually nothing changes.
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

    /// Whether it holds its slot.
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

    /// What it does when its connection is needed.
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

    /// Registers the task that is woken when its connection is needed.
    pub(super) fn wake_by(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Asks the exchange to give up its connection, and wakes it.
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

    /// The response head has arrived; `is_large` tells whether the body will be large.
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
