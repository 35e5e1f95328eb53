//! What the origin answers: status, head, and which part of which content.

use std::{fmt::Write as _, time::Duration};

use super::request::Request;
use crate::{
    catalog::File,
    content::Content,
    live::{Live, PLAYLIST, WINDOW, segment_path},
    moment::http_date,
};

/// When every file was last changed: 2026-01-01T00:00:00Z.
const CHANGED: u64 = 1_767_225_600;

/// The bytes of an answer's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// Part of a file.
    Part {
        /// The file's content.
        content: Content,
        /// Where the part begins.
        from: u64,
        /// Its length.
        length: u64,
    },
    /// A text.
    Text(String),
    /// No body.
    Nothing,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines, each with its line end; Date and Connection not among them.
    pub headers: String,
    /// The body.
    pub bytes: Bytes,
}

impl Answer {
    /// An answer of one line.
    #[must_use]
    pub fn plain(status: u16, headers: &str, text: &str) -> Self {
        Self {
            status,
            headers: format!(
                "{headers}Content-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: {}\r\n",
                text.len()
            ),
            bytes: Bytes::Text(text.to_owned()),
        }
    }

    /// The answer to a request when the stream is so old.
    #[must_use]
    pub fn to(request: &Request, seed: u64, live: &Live, age: Duration) -> Self {
        let path = request.target.split('?').next().unwrap_or_default();
        if request.method != "GET" && request.method != "HEAD" {
            return Self::plain(405, "Allow: GET, HEAD\r\n", "this origin has files only\n");
        }
        let mut answer = if path == PLAYLIST {
            let text = live.playlist(live.first_at(age));
            Self {
                status: 200,
                headers: format!(
                    "Content-Type: application/vnd.apple.mpegurl\r\nCache-Control: public, max-age=1\r\n\
                     Content-Length: {}\r\n",
                    text.len()
                ),
                bytes: Bytes::Text(text),
            }
        } else if let Some(number) = segment_number(path) {
            if number >= live.first_at(age) + WINDOW {
                return Self::plain(404, "", "not there yet\n");
            }
            part(
                request,
                Content::of(seed, path),
                live.segment_bytes(),
                "video/mp2t",
            )
        } else if let Some(file) = File::of_path(path) {
            part(
                request,
                file.content(seed),
                file.length,
                "application/octet-stream",
            )
        } else {
            Self::plain(
                404,
                "",
                "files are at /file/BYTES/NAME, the stream at /live/stream.m3u8\n",
            )
        };
        if request.method == "HEAD" {
            answer.bytes = Bytes::Nothing;
        }
        answer
    }

    /// Bytes of the body.
    #[must_use]
    pub const fn length(&self) -> u64 {
        match &self.bytes {
            Bytes::Part { length, .. } => *length,
            Bytes::Text(text) => text.len() as u64,
            Bytes::Nothing => 0,
        }
    }
}

fn segment_number(path: &str) -> Option<u64> {
    let number = path
        .strip_prefix("/live/")?
        .strip_suffix(".ts")?
        .parse()
        .ok()?;
    (segment_path(number) == path).then_some(number)
}

/// A file or a range of it, as the conditions in the request say (RFC 9110, sections 13.2.2 and 14.2).
fn part(request: &Request, content: Content, length: u64, kind: &str) -> Answer {
    let etag = content.etag(length);
    let changed = http_date(CHANGED);
    let mut headers = format!(
        "ETag: {etag}\r\nLast-Modified: {changed}\r\nCache-Control: public, max-age=3600\r\nAccept-Ranges: bytes\r\n"
    );
    let same = match (&request.if_none_match, &request.if_modified_since) {
        (Some(tags), _) => tags
            .split(',')
            .any(|t| t.trim().trim_start_matches("W/") == etag || t.trim() == "*"),
        (None, Some(date)) => *date == changed,
        (None, None) => false,
    };
    if same {
        return Answer {
            status: 304,
            headers,
            bytes: Bytes::Nothing,
        };
    }
    let holds = request
        .if_range
        .as_ref()
        .is_none_or(|tag| *tag == etag || *tag == changed);
    let range = request
        .range
        .as_deref()
        .filter(|_| holds && request.method == "GET");
    _ = write!(headers, "Content-Type: {kind}\r\n");
    match range.map_or(Ranges::Whole, |text| ranges(text, length)) {
        Ranges::Whole => {
            _ = write!(headers, "Content-Length: {length}\r\n");
            Answer {
                status: 200,
                headers,
                bytes: Bytes::Part {
                    content,
                    from: 0,
                    length,
                },
            }
        }
        Ranges::One(from, to) => {
            let part = to - from + 1;
            _ = write!(
                headers,
                "Content-Range: bytes {from}-{to}/{length}\r\nContent-Length: {part}\r\n"
            );
            Answer {
                status: 206,
                headers,
                bytes: Bytes::Part {
                    content,
                    from,
                    length: part,
                },
            }
        }
        Ranges::None => Answer {
            status: 416,
            headers: format!("Content-Range: bytes */{length}\r\nContent-Length: 0\r\n"),
            bytes: Bytes::Nothing,
        },
    }
}

enum Ranges {
    Whole,
    /// First and last byte.
    One(u64, u64),
    None,
}

/// What a Range header asks for. Several ranges, or none that can be read, get the whole file, as a server may.
fn ranges(text: &str, length: u64) -> Ranges {
    let Some(spec) = text.strip_prefix("bytes=") else {
        return Ranges::Whole;
    };
    let Some((from, to)) = spec.trim().split_once('-') else {
        return Ranges::Whole;
    };
    match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), _) if from >= length => Ranges::None,
        (Ok(from), Ok(to)) if from <= to => Ranges::One(from, to.min(length - 1)),
        (Ok(from), Err(_)) if to.is_empty() => Ranges::One(from, length - 1),
        (Err(_), Ok(0)) if from.is_empty() => Ranges::None,
        (Err(_), Ok(last)) if from.is_empty() && length > 0 => {
            Ranges::One(length.saturating_sub(last), length - 1)
        }
        _ => Ranges::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(change: impl Fn(&mut Request)) -> Answer {
        let live = Live {
            segment: "2 s".parse().unwrap(),
            bitrate: "1 Mbit/s".parse().unwrap(),
        };
        let mut request = Request {
            method: "GET".to_owned(),
            target: "/file/1000/a".to_owned(),
            ..Request::default()
        };
        change(&mut request);
        Answer::to(&request, 1, &live, Duration::from_secs(5))
    }

    fn range(text: &str) -> (u16, u64) {
        let answer = ask(|r| r.range = Some(text.to_owned()));
        (answer.status, answer.length())
    }

    #[test]
    fn ranges_give_their_part_and_bad_ones_do_not() {
        assert_eq!(range("bytes=0-0"), (206, 1));
        assert_eq!(range("bytes=990-"), (206, 10));
        assert_eq!(range("bytes=-20"), (206, 20));
        assert_eq!(range("bytes=900-5000"), (206, 100));
        assert_eq!(range("bytes=1000-"), (416, 0));
        assert_eq!(range("bytes=5-2"), (200, 1000));
        assert_eq!(range("bytes=0-1,5-6"), (200, 1000));
    }

    #[test]
    fn if_range_with_another_tag_gives_the_whole() {
        let tag = Content::of(1, "/file/1000/a").etag(1000);
        let with = |tag: String| {
            ask(move |r| {
                r.range = Some("bytes=5-".to_owned());
                r.if_range = Some(tag.clone());
            })
            .status
        };
        assert_eq!(with(tag), 206);
        assert_eq!(with("\"other\"".to_owned()), 200);
    }

    #[test]
    fn a_known_tag_gives_304_and_head_no_body() {
        let tag = Content::of(1, "/file/1000/a").etag(1000);
        assert_eq!(ask(|r| r.if_none_match = Some(tag.clone())).status, 304);
        let head = ask(|r| r.method = "HEAD".to_owned());
        assert_eq!((head.status, head.length()), (200, 0));
        assert!(head.headers.contains("Content-Length: 1000"));
    }

    #[test]
    fn a_segment_is_there_once_it_is_in_the_playlist() {
        assert_eq!(ask(|r| r.target = "/live/7.ts".to_owned()).status, 200);
        assert_eq!(ask(|r| r.target = "/live/8.ts".to_owned()).status, 404);
        assert_eq!(ask(|r| r.target = "/nothing".to_owned()).status, 404);
        assert_eq!(ask(|r| r.method = "POST".to_owned()).status, 405);
    }
}
