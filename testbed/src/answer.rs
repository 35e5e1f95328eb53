//! The answer to GET and HEAD for a representation: conditions and ranges as RFC 9110, sections 13 and 14, say.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use crate::{
    condition::{holds, is_known, is_same},
    head::date,
    range::{Wanted, content_range},
    representation::{Body, Representation},
};

/// Stands between the parts of an answer with several ranges.
const BOUNDARY: &str = "fileproxy-demo-3d6b6a416f9e";

/// An answer, with what is left of its body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code: 200, 206, 304, 412 or 416; any for a text.
    pub status: u16,
    /// The fields, but those of framing and connection.
    pub fields: Vec<(&'static str, String)>,
    /// Content-Length in bytes: of the body that GET has, for HEAD too; none where there must be none.
    pub length: Option<u64>,
    parts: VecDeque<(Body, Range<u64>)>,
}

impl Answer {
    /// The answer to a request with this method, GET or HEAD, and the fields that `field` gives by their names in lower case
    /// (several of one name joined with commas). More than `most` ranges in one request are answered with the whole.
    #[must_use]
    pub fn to(
        method: &str,
        field: impl Fn(&str) -> Option<String>,
        found: &Representation,
        most: usize,
    ) -> Self {
        let (tag, modified) = (found.body.tag(), Representation::modified());
        let field = |name| field(name);
        let pair = |tags, day| (field(tags), field(day));
        let mut answer = Self {
            status: 200,
            fields: vec![
                ("ETag", tag.clone()),
                ("Last-Modified", date(modified)),
                ("Accept-Ranges", "bytes".to_owned()),
                ("Cache-Control", "public, max-age=3600".to_owned()),
            ],
            length: Some(0),
            parts: VecDeque::new(),
        };
        let (tags, day) = pair("if-match", "if-unmodified-since");
        if !holds(tags.as_deref(), day.as_deref(), &tag, modified) {
            answer.status = 412;
            return answer;
        }
        let (tags, day) = pair("if-none-match", "if-modified-since");
        if is_known(tags.as_deref(), day.as_deref(), &tag, modified) {
            answer.status = 304;
            answer.length = None;
            return answer;
        }
        let len = found.body.len();
        let same = is_same(field("if-range").as_deref(), &tag, modified);
        let range = field("range").filter(|_| same && method == "GET");
        match range.map_or(Wanted::Whole, |value| Wanted::of(&value, len, most)) {
            Wanted::Nothing => {
                answer.status = 416;
                answer.say("Content-Range", format!("bytes */{len}"));
            }
            Wanted::Whole => {
                answer.say("Content-Type", found.media_type.to_owned());
                answer.parts.push_back((found.body.clone(), 0..len));
            }
            Wanted::Parts(parts) => {
                answer.status = 206;
                answer.partial(found, parts);
            }
        }
        answer.length = Some(answer.left());
        if method == "HEAD" {
            answer.parts.clear();
        }
        answer
    }

    /// An answer with a body of text and these fields.
    #[must_use]
    pub fn text(status: u16, fields: Vec<(&'static str, String)>, text: String) -> Self {
        let len = text.len() as u64;
        Self {
            status,
            fields,
            length: Some(len),
            parts: VecDeque::from([(Body::Held(text.into()), 0..len)]),
        }
    }

    fn say(&mut self, name: &'static str, value: String) {
        self.fields.push((name, value));
    }

    fn partial(&mut self, found: &Representation, parts: Vec<Range<u64>>) {
        let len = found.body.len();
        if let [part] = &parts[..] {
            self.say("Content-Range", content_range(part, len));
            self.say("Content-Type", found.media_type.to_owned());
            self.parts.push_back((found.body.clone(), part.clone()));
            return;
        }
        let kind = format!("multipart/byteranges; boundary={BOUNDARY}");
        self.say("Content-Type", kind);
        for part in parts {
            self.held(format!(
                "\r\n--{BOUNDARY}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
                found.media_type,
                content_range(&part, len)
            ));
            self.parts.push_back((found.body.clone(), part));
        }
        self.held(format!("\r\n--{BOUNDARY}--\r\n"));
    }

    fn held(&mut self, text: String) {
        let len = text.len() as u64;
        self.parts.push_back((Body::Held(text.into()), 0..len));
    }

    /// Leaves the body out, as the answer to HEAD does.
    pub fn without_body(&mut self) {
        self.parts.clear();
    }

    /// Bytes of the body that are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        let lengths = self.parts.iter().map(|(_, part)| part.end - part.start);
        lengths.sum()
    }

    /// Takes the next piece of the body, at most `most` bytes of it; none at its end.
    pub fn next_piece(&mut self, most: u64) -> Option<Bytes> {
        while let Some((body, part)) = self.parts.front_mut() {
            if part.is_empty() {
                self.parts.pop_front();
                continue;
            }
            let end = part.end.min(part.start + most);
            let piece = body.read(part.start..end);
            part.start = end;
            return Some(piece);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Content;

    fn file() -> Representation {
        Representation {
            body: Body::Made(Content::of("/a"), 1000),
            media_type: "video/mp2t",
        }
    }

    fn ask(method: &str, fields: &[(&str, &str)]) -> Answer {
        let field = |name: &str| {
            let mut values = fields.iter().filter(|(own, _)| *own == name);
            values.next().map(|(_, value)| (*value).to_owned())
        };
        Answer::to(method, field, &file(), 2)
    }

    fn bytes(mut answer: Answer) -> Vec<u8> {
        std::iter::from_fn(|| answer.next_piece(7))
            .flatten()
            .collect()
    }

    #[test]
    fn a_range_gives_its_part_and_too_many_give_the_whole() {
        let whole = bytes(ask("GET", &[]));
        let part = ask("GET", &[("range", "bytes=990-")]);
        assert_eq!((part.status, part.length), (206, Some(10)));
        assert_eq!(bytes(part), whole[990..]);
        let three = ask("GET", &[("range", "bytes=0-0,1-1,2-2")]);
        assert_eq!((three.status, three.length), (200, Some(1000)));
        let none = ask("GET", &[("range", "bytes=1000-")]);
        assert_eq!((none.status, none.length), (416, Some(0)));
    }

    #[test]
    fn several_ranges_come_with_their_length() {
        let answer = ask("GET", &[("range", "bytes=0-4,-5")]);
        assert_eq!(answer.status, 206);
        let length = answer.length;
        assert_eq!(length, Some(answer.left()));
        assert_eq!(length, Some(bytes(answer).len() as u64));
    }

    #[test]
    fn conditions_come_before_ranges() {
        let tag = file().body.tag();
        let range = ("range", "bytes=5-");
        assert_eq!(ask("GET", &[range, ("if-range", &tag)]).status, 206);
        assert_eq!(ask("GET", &[range, ("if-range", "\"x\"")]).status, 200);
        let known = ask("GET", &[range, ("if-none-match", &tag)]);
        assert_eq!((known.status, known.length), (304, None));
        let other = ask("GET", &[range, ("if-match", "\"x\"")]);
        assert_eq!((other.status, other.length), (412, Some(0)));
    }

    #[test]
    fn head_has_the_length_and_no_body() {
        let answer = ask("HEAD", &[("range", "bytes=0-0")]);
        assert_eq!((answer.status, answer.length), (200, Some(1000)));
        assert!(bytes(answer).is_empty());
    }
}
