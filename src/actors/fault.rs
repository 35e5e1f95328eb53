//! Injected faults, for tests of the supervision. With the feature `testing`.

use std::time::Duration;

use actix::Message;

/// Breaks the actor that receives it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub enum Fault {
    /// The handler panics.
    Panic,
    /// The handler blocks its thread for this time.
    Hang(Duration),
}

impl Fault {
    #[expect(clippy::panic, reason = "a panic is what it is for")]
    pub(super) fn happen(self) {
        match self {
            Fault::Panic => panic!("a fault made on purpose"),
            Fault::Hang(duration) => std::thread::sleep(duration),
        }
    }
}
