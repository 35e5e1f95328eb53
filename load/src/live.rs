//! The live HLS stream (RFC 8216) that origin and players agree on: every playlist and segment follows from its number.

use std::time::Duration;

use fileproxy_testbed::playlist::{Playlist, first};
use serde::{Deserialize, Serialize};

use crate::units::{BitRate, Span};

/// Segments a playlist lists.
pub const WINDOW: u64 = 6;
/// The playlist's path.
pub const PLAYLIST: &str = "/live/stream.m3u8";

/// A live stream.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// Length of a segment.
    pub segment: Span,
    /// What a player must receive to play without a stop, heads not counted.
    pub bitrate: BitRate,
}

impl Live {
    /// Bytes of a segment.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        (self.bitrate.bits() / 8.0 * self.segment.get().as_secs_f64()) as u64
    }

    /// The first number in the playlist when the stream is so old. The first playlist is full from the start.
    #[must_use]
    pub fn first_at(&self, age: Duration) -> u64 {
        (age.as_secs_f64() / self.segment.get().as_secs_f64()) as u64
    }

    /// The playlist that begins with this number.
    #[must_use]
    pub fn playlist(&self, first: u64) -> String {
        Playlist {
            first,
            count: WINDOW,
            segment: self.segment.get(),
            name: segment_name,
            is_over: false,
        }
        .to_string()
    }

    /// The first number of a playlist, if it is one of this stream, to the last byte.
    #[must_use]
    pub fn first_of(&self, playlist: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(playlist).ok()?;
        first(text).filter(|first| self.playlist(*first) == text)
    }
}

fn segment_name(number: u64) -> String {
    format!("{number}.ts")
}

/// The path of a segment.
#[must_use]
pub fn segment_path(number: u64) -> String {
    format!("/live/{}", segment_name(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_is_known_again_and_a_changed_one_is_not() {
        let live = Live {
            segment: "2 s".parse().unwrap(),
            bitrate: "1 Mbit/s".parse().unwrap(),
        };
        let text = live.playlist(17);
        assert_eq!(live.first_of(text.as_bytes()), Some(17));
        assert_eq!(
            live.first_of(text.replace("18.ts", "19.ts").as_bytes()),
            None
        );
        assert_eq!(live.first_of(&text.as_bytes()[..text.len() - 1]), None);
        assert_eq!(live.segment_bytes(), 250_000);
        assert_eq!(live.first_at(Duration::from_secs(5)), 2);
    }
}
