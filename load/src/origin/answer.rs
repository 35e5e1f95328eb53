//! What the lab's origin answers: files, the live stream, and a word about everything else.

use std::time::Duration;

use fileproxy_testbed::{
    answer::Answer,
    content::Content,
    representation::{Body, Representation},
};

use super::request::Request;
use crate::{
    catalog::File,
    live::{Live, PLAYLIST, WINDOW, segment_path},
};

/// An answer of one line, with these fields beside its own.
#[must_use]
pub fn plain(status: u16, mut fields: Vec<(&'static str, String)>, text: &str) -> Answer {
    fields.push(("Content-Type", "text/plain".to_owned()));
    fields.push(("Cache-Control", "no-store".to_owned()));
    Answer::text(status, fields, text.to_owned())
}

/// The answer to a request when the stream is so old.
#[must_use]
pub fn answer(request: &Request, seed: u64, live: &Live, age: Duration) -> Answer {
    let path = request.target.split('?').next().unwrap_or_default();
    if request.method != "GET" && request.method != "HEAD" {
        let allow = vec![("Allow", "GET, HEAD".to_owned())];
        return plain(405, allow, "this origin has files only\n");
    }
    let file = |content, length, media_type| {
        let body = Body::Made(content, length);
        let found = Representation { body, media_type };
        // Several ranges get the whole file, as a server may.
        Answer::to(&request.method, |name| request.field(name), &found, 1)
    };
    let mut answer = if path == PLAYLIST {
        let fields = vec![
            ("Content-Type", "application/vnd.apple.mpegurl".to_owned()),
            ("Cache-Control", "public, max-age=1".to_owned()),
        ];
        Answer::text(200, fields, live.playlist(live.first_at(age)))
    } else if let Some(number) = segment_number(path) {
        if number >= live.first_at(age) + WINDOW {
            return plain(404, Vec::new(), "not there yet\n");
        }
        let content = Content::seeded(seed, path);
        file(content, live.segment_bytes(), "video/mp2t")
    } else if let Some(found) = File::of_path(path) {
        file(
            found.content(seed),
            found.length,
            "application/octet-stream",
        )
    } else {
        let text = "files are at /file/BYTES/NAME, the stream at /live/stream.m3u8\n";
        plain(404, Vec::new(), text)
    };
    if request.method == "HEAD" {
        answer.without_body();
    }
    answer
}

/// Whether bytes of a file are in it: those alone break.
#[must_use]
pub fn has_file(answer: &Answer) -> bool {
    answer.left() > 0 && answer.fields.iter().any(|(name, _)| *name == "ETag")
}

fn segment_number(path: &str) -> Option<u64> {
    let number = path
        .strip_prefix("/live/")?
        .strip_suffix(".ts")?
        .parse()
        .ok()?;
    (segment_path(number) == path).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, target: &str, lines: &str) -> (u16, u64) {
        let live = Live {
            segment: "2 s".parse().unwrap(),
            bitrate: "1 Mbit/s".parse().unwrap(),
        };
        let head = format!("{method} {target} HTTP/1.1\r\n{lines}\r\n");
        let (request, _) = Request::parse(head.as_bytes()).unwrap().unwrap();
        let answer = answer(&request, 1, &live, Duration::from_secs(5));
        (answer.status, answer.left())
    }

    #[test]
    fn a_file_comes_whole_or_in_one_part() {
        let get = |lines| ask("GET", "/file/1000/a", lines);
        assert_eq!(get(""), (200, 1000));
        assert_eq!(get("Range: bytes=990-\r\n"), (206, 10));
        assert_eq!(get("Range: bytes=0-1,5-6\r\n"), (200, 1000));
        assert_eq!(ask("HEAD", "/file/1000/a", ""), (200, 0));
    }

    #[test]
    fn a_segment_is_there_once_it_is_in_the_playlist() {
        assert_eq!(ask("GET", "/live/7.ts", "").0, 200);
        assert_eq!(ask("GET", "/live/8.ts", "").0, 404);
        assert_eq!(ask("GET", "/nothing", "").0, 404);
        assert_eq!(ask("POST", "/live/7.ts", "").0, 405);
        assert_eq!(ask("HEAD", PLAYLIST, ""), (200, 0));
    }
}
