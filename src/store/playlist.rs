//! Parses what the store needs of an HLS media playlist (RFC 8216): its lifetime and its segments.

use std::time::Duration;

/// A longer file is not treated as a playlist, in bytes.
pub const LONGEST: usize = 1024 * 1024;

/// A media playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playlist {
    /// EXT-X-TARGETDURATION: the longest duration of a segment.
    pub target_duration: Duration,
    /// Whether it is complete (EXT-X-ENDLIST).
    pub ended: bool,
    /// URL references of the segments in order, without those that are byte ranges of a file.
    pub segments: Vec<String>,
}

impl Playlist {
    /// Parses a playlist; none if it is not a media playlist. Recognized by its first line, not by its name.
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() > LONGEST {
            return None;
        }
        let text = std::str::from_utf8(body).ok()?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().map(str::trim_end);
        if lines.next() != Some("#EXTM3U") {
            return None;
        }
        let mut target_duration = None;
        let mut ended = false;
        let mut segments = Vec::new();
        let mut is_range = false;
        for line in lines {
            if let Some(seconds) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
                target_duration = seconds.trim().parse().ok().filter(|&seconds| seconds > 0);
            } else if line == "#EXT-X-ENDLIST" {
                ended = true;
            } else if line.starts_with("#EXT-X-BYTERANGE") {
                is_range = true;
            } else if !line.is_empty() && !line.starts_with('#') && !std::mem::take(&mut is_range) {
                segments.push(line.to_owned());
            }
        }
        Some(Playlist {
            target_duration: Duration::from_secs(target_duration?),
            ended,
            segments,
        })
    }

    /// Its freshness lifetime if the origin declares none: half a target duration while it is live.
    pub fn lifetime(&self) -> Option<Duration> {
        (!self.ended).then(|| self.target_duration / 2)
    }

    /// How long it may be used while the origin fails: three target durations while it is live.
    pub fn stale_if_error(&self) -> Option<Duration> {
        (!self.ended).then(|| self.target_duration * 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "#EXTM3U\r\n#EXT-X-VERSION:3\r\n#EXT-X-TARGETDURATION:4\r\n#EXT-X-MEDIA-SEQUENCE:7\r\n#EXTINF:4.0,\r\n\
        a-7.ts\r\n#EXTINF:3.9,title\r\n#EXT-X-BYTERANGE:10@0\r\na-8.ts?x=1\r\n";

    #[test]
    fn a_live_playlist_is_soon_old() {
        let playlist = Playlist::parse(LIVE.as_bytes()).unwrap();
        assert_eq!(playlist.lifetime(), Some(Duration::from_secs(2)));
        assert_eq!(playlist.stale_if_error(), Some(Duration::from_secs(12)));
        // The other one is a byte range.
        assert_eq!(playlist.segments, ["a-7.ts"]);
        let ended = Playlist::parse(format!("{LIVE}#EXT-X-ENDLIST\n").as_bytes()).unwrap();
        assert!(ended.ended && ended.lifetime().is_none() && ended.stale_if_error().is_none());
    }

    #[test]
    fn what_is_no_media_playlist_is_none() {
        for text in [
            "",
            "#EXTM3U",
            "x\n#EXTM3U\n#EXT-X-TARGETDURATION:4\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:soon\n",
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n",
        ] {
            assert_eq!(Playlist::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(
            Playlist::parse(b"#EXTM3U\n\xff\n#EXT-X-TARGETDURATION:4\n"),
            None
        );
    }
}
