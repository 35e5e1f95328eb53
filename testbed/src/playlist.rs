//! Media playlists of HTTP Live Streaming (RFC 8216), as text: a recording, or what is now to be had of a live stream.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

/// A media playlist whose segments all have one length.
#[derive(Clone, Copy, Debug)]
pub struct Playlist {
    /// The number of its first segment.
    pub first: u64,
    /// How many segments it has.
    pub count: u64,
    /// How long each plays.
    pub segment: Duration,
    /// The name of the segment with this number, as seen from the playlist.
    pub name: fn(u64) -> String,
    /// Whether this is all there will ever be: a recording.
    pub is_over: bool,
}

impl Display for Playlist {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (first, seconds) = (self.first, self.segment.as_secs_f64());
        let (kind, end) = if self.is_over {
            ("#EXT-X-PLAYLIST-TYPE:VOD\n", "#EXT-X-ENDLIST\n")
        } else {
            ("", "")
        };
        write!(
            f,
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:{:.0}\n#EXT-X-MEDIA-SEQUENCE:{first}\n{kind}",
            seconds.ceil()
        )?;
        for number in first..first + self.count {
            write!(f, "#EXTINF:{seconds:.3},\n{}\n", (self.name)(number))?;
        }
        f.write_str(end)
    }
}

/// The number of a playlist's first segment, where it says one.
#[must_use]
pub fn first(playlist: &str) -> Option<u64> {
    let mut lines = playlist.lines();
    lines
        .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"))?
        .parse()
        .ok()
}

/// The names of a playlist's segments and how long each plays; without those that say no length.
#[must_use]
pub fn segments(playlist: &str) -> Vec<(&str, Duration)> {
    let mut length = None;
    let mut segments = Vec::new();
    for line in playlist.lines() {
        if let Some(info) = line.strip_prefix("#EXTINF:") {
            let seconds = info.split(',').next().and_then(|text| text.parse().ok());
            length = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        } else if !line.starts_with('#')
            && let Some(length) = length.take()
        {
            segments.push((line, length));
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let segment = Duration::from_millis(2500);
        let playlist = |is_over| Playlist {
            first: 17,
            count: 2,
            segment,
            name: |number| format!("{number}.ts"),
            is_over,
        };
        let live = playlist(false).to_string();
        assert_eq!(first(&live), Some(17));
        assert_eq!(segments(&live), [("17.ts", segment), ("18.ts", segment)]);
        assert!(live.contains("#EXT-X-TARGETDURATION:3\n"), "{live}");
        assert!(!live.contains("ENDLIST"));
        let recording = playlist(true).to_string();
        assert!(recording.ends_with("18.ts\n#EXT-X-ENDLIST\n"));
        assert_eq!(segments(&recording), segments(&live));
    }

    #[test]
    fn a_segment_without_a_length_is_left_out() {
        let text =
            "#EXTM3U\n#EXTINF:4.000,\na.ts\n#EXT-X-X\n#EXTINF:2.5,title\nb.ts\nno-length.ts\n";
        let (a, b) = (Duration::from_secs(4), Duration::from_millis(2500));
        assert_eq!(segments(text), [("a.ts", a), ("b.ts", b)]);
        assert_eq!(first(text), None);
    }
}
