//! The decision to fetch the rest of a body over several connections.

use std::rc::Rc;

use super::replay::Replay;
use crate::path::continuation::Continuation;

/// What a parallel fetch begins with, beside the response that the body came by until now.
pub struct ParallelPlan {
    /// Makes the requests for the parts.
    pub replay: Rc<Replay>,
    /// Where the body stands: its next byte and its version.
    pub whole: Continuation,
    /// The byte behind the body's last.
    pub end: u64,
}
