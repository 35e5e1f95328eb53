//! What an origin to try a proxy with is made of. The demo's, the load lab's and the tests' origin are servers of three
//! kinds; what they serve, and how they misbehave, is here, once. Everything is pure: no runtime, no socket, and time is an
//! argument.

pub mod answer;
pub mod condition;
pub mod content;
pub mod fault;
pub mod framing;
pub mod head;
pub mod playback;
pub mod playlist;
pub mod random;
pub mod range;
pub mod representation;
