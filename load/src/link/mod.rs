//! The bad link: two hosts joined by a user-space emulator that holds every packet as long as the wire would.
//!
//! ```text
//!  host A            emulator (one thread)            host B
//!  tun  --read--> line A to B: queue, rate, --write--> tun
//!                 loss, delay, jitter
//!  tun <--write-- line B to A               <--read--  tun
//! ```
//!
//! [`shape`] says what a direction is like, [`line`](mod@line) decides the fate of each packet (pure, time is an argument),
//! [`emulator`] moves the packets, [`trial`] measures the result from outside.

pub mod emulator;
pub mod line;
pub mod loss;
pub mod shape;
pub mod trial;
