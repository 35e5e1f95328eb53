//! Where a body ends (RFC 9112, section 6.3), and whether its bytes are right.

use fileproxy_testbed::framing::Framing;

use super::verdict::Expected;

/// How a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More must come.
    More,
    /// It is whole by its framing.
    Whole,
    /// The chunked coding is broken.
    Broken,
    /// A byte differs from the file, or there are more bytes than the file has.
    Wrong,
}

/// A body as it comes in.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    expected: Expected,
    /// Bytes of body so far.
    pub bytes: u64,
    /// The bytes, kept only for [`Expected::Text`].
    pub text: Vec<u8>,
}

impl Body {
    /// An empty body.
    #[must_use]
    pub const fn new(framing: Framing, expected: Expected) -> Self {
        Self {
            framing,
            expected,
            bytes: 0,
            text: Vec::new(),
        }
    }

    /// Whether only the close ends it.
    #[must_use]
    pub fn ends_with_close(&self) -> bool {
        self.framing == Framing::Close
    }

    /// Bytes the whole body must have; none when any will do.
    #[must_use]
    pub fn wanted(&self) -> Option<u64> {
        match self.expected {
            Expected::File { length, from, .. } => Some(length - from),
            Expected::Text => None,
        }
    }

    /// How it stands by its framing.
    #[must_use]
    pub fn progress(&self) -> Progress {
        if self.framing.is_over() {
            Progress::Whole
        } else {
            Progress::More
        }
    }

    /// Takes what came; says how the body stands and how much of the input belonged to it.
    pub fn take(&mut self, input: &[u8]) -> (Progress, usize) {
        let mut at = 0;
        while at < input.len() && !self.framing.is_over() {
            let Ok((used, part)) = self.framing.next(&input[at..]) else {
                return (Progress::Broken, at);
            };
            at += used;
            if !self.payload(&input[at - part..at]) {
                return (Progress::Wrong, at);
            }
        }
        (self.progress(), at)
    }

    /// Checks bytes of body against what the file has there.
    fn payload(&mut self, part: &[u8]) -> bool {
        let at = self.bytes;
        self.bytes += part.len() as u64;
        match &self.expected {
            Expected::Text => {
                self.text.extend_from_slice(part);
                true
            }
            Expected::File {
                content,
                length,
                from,
            } => from + self.bytes <= *length && content.is(from + at, part),
        }
    }
}

#[cfg(test)]
mod tests {
    use fileproxy_testbed::content::Content;

    use super::*;

    fn file(length: u64) -> Expected {
        Expected::File {
            content: Content::seeded(1, "/a"),
            length,
            from: 0,
        }
    }

    fn bytes(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        Content::seeded(1, "/a").fill(0, &mut bytes);
        bytes
    }

    #[test]
    fn a_body_is_checked_from_where_its_range_begins() {
        let mut wire = bytes(10)[4..].to_vec();
        wire.extend(b"HTTP/1.1");
        let Expected::File {
            content, length, ..
        } = file(10)
        else {
            panic!("a file");
        };
        let from = 4;
        let expected = Expected::File {
            content,
            length,
            from,
        };
        let mut body = Body::new(Framing::Length(6), expected);
        assert_eq!(body.take(&wire), (Progress::Whole, 6));
    }

    #[test]
    fn a_flipped_byte_and_a_longer_body_are_wrong() {
        let mut wire = bytes(10);
        wire[9] ^= 1;
        assert_eq!(
            Body::new(Framing::Length(10), file(10)).take(&wire).0,
            Progress::Wrong
        );
        assert_eq!(
            Body::new(Framing::Close, file(9)).take(&bytes(10)).0,
            Progress::Wrong
        );
    }
}
