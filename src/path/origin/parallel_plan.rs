//! The decision to fetch the rest of a body over several connections.

use std::rc::Rc;

use super::replay::Replay;
use crate::path::continuation::Continuation;

/// What a parallel fetch starts with, besides the original response.
pub struct ParallelPlan {
    /// Makes the requests for the parts.
    pub replay: Rc<Replay>,
    /// Position of the next byte, and the validator of the representation.
    pub whole: Continuation,
    /// Position behind the body's last byte.
    pub end: u64,
}
