//! `[http2]`: limits for clients that speak HTTP/2.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{reloadable::reloadable, units::OutOfRange};

/// HTTP/2 to clients, which they choose by ALPN where TLS is on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether it is offered.
    pub enabled: bool,
    /// Requests under way at once on one connection (SETTINGS_MAX_CONCURRENT_STREAMS).
    pub max_streams: u32,
    /// Requests that a client may cancel at once; a tenth as many each second after that.
    pub max_resets: u32,
    /// Frames with almost no content that a client may send at once; a tenth as many each second after that.
    pub max_small_frames: u32,
    /// The largest flow-control window of one request body; a connection has twice as much.
    #[serde(with = "crate::units::sized")]
    pub window: ByteSize,
    /// The most bytes by which the windows of all connections together may exceed the initial 128 KiB of each.
    #[serde(with = "crate::units::sized")]
    pub windows: ByteSize,
}

reloadable!(Settings {
    enabled: NextConnection,
    max_streams: NextConnection,
    max_resets: NextConnection,
    max_small_frames: NextConnection,
    window: NextConnection,
    windows: NextConnection,
});

impl Settings {
    /// Checks the ranges of the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless(
            (1..=10_000).contains(&self.max_streams),
            "http2.max_streams",
            "1 to 10000",
            self.max_streams,
        )?;
        OutOfRange::unless(
            (1..=1_000_000).contains(&self.max_resets),
            "http2.max_resets",
            "1 to 1000000",
            self.max_resets,
        )?;
        OutOfRange::unless(
            (100..=1_000_000).contains(&self.max_small_frames),
            "http2.max_small_frames",
            "100 to 1000000",
            self.max_small_frames,
        )?;
        OutOfRange::unless(
            (64 * 1024..=256 * 1024 * 1024).contains(&self.window.as_u64()),
            "http2.window",
            "64KiB to 256MiB",
            self.window,
        )?;
        OutOfRange::unless(
            self.windows.as_u64() <= 1 << 40,
            "http2.windows",
            "0B to 1TiB",
            self.windows,
        )
    }

    /// The largest window of one request body, in the type that h2 takes.
    pub fn window_size(&self) -> u32 {
        u32::try_from(self.window.as_u64()).unwrap_or(u32::MAX >> 2)
    }
}
