//! The demo's stream as HTTP Live Streaming (RFC 8216): a finished recording of ten minutes, in segments of four seconds.

use bytes::Bytes;
use fileproxy_testbed::{
    playlist::Playlist,
    representation::{Body, Representation},
};

use super::mpegts::{self, SEGMENT};

/// Segments in the stream.
pub const SEGMENTS: u64 = 150;

/// Path of the master playlist.
pub const MASTER: &str = "/hls/master.m3u8";
/// Path of the stream's only media playlist.
pub const STREAM: &str = "/hls/stream.m3u8";

const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";

/// The resource at `path`, if it belongs to the stream.
pub fn find(path: &str) -> Option<Representation> {
    let (bytes, media_type) = match path {
        MASTER => (master().into(), PLAYLIST_TYPE),
        STREAM => (playlist().into(), PLAYLIST_TYPE),
        _ => (segment(path)?, "video/mp2t"),
    };
    Some(Representation {
        body: Body::Held(bytes),
        media_type,
    })
}

/// The bytes of the segment at `path`, if there is one.
pub fn segment(path: &str) -> Option<Bytes> {
    let name = path.strip_prefix("/hls/")?;
    let digits = name.strip_prefix("seg-")?.strip_suffix(".ts")?;
    let number = digits.parse().ok()?;
    // only the name in the playlist is valid
    let known = (1..=SEGMENTS).contains(&number) && name == segment_name(number);
    known.then(|| mpegts::segment(number - 1).into())
}

/// The name of segment `number`, counted from 1.
fn segment_name(number: u64) -> String {
    format!("seg-{number:05}.ts")
}

fn master() -> String {
    "#EXTM3U\n\
     #EXT-X-VERSION:3\n\
     #EXT-X-STREAM-INF:BANDWIDTH=1500000,RESOLUTION=192x112,CODECS=\"avc1.42c014,mp4a.40.2\"\n\
     stream.m3u8\n"
        .into()
}

fn playlist() -> String {
    Playlist {
        first: 1,
        count: SEGMENTS,
        segment: SEGMENT,
        name: segment_name,
        is_over: true,
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_the_playlist_is_a_segment() {
        let playlist = playlist();
        let names: Vec<_> = playlist.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(names.len() as u64, SEGMENTS);
        for name in names {
            assert!(segment(&format!("/hls/{name}")).is_some(), "{name}");
        }
    }

    #[test]
    fn a_segment_has_one_name() {
        for name in [
            "seg-00000.ts",
            "seg-00151.ts",
            "seg-1.ts",
            "seg-+0001.ts",
            "seg-.ts",
        ] {
            assert!(segment(&format!("/hls/{name}")).is_none(), "{name}");
        }
    }
}
