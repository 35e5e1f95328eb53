//! Where a body ends (RFC 9112, section 6.3), and whether its bytes are right.

use super::verdict::Expected;

/// What frames the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunked.
    Chunked(Chunk),
    /// Everything up to the close.
    Close,
}

/// Where in the chunked coding we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// In a line with a size; the size so far, and whether its digits are over.
    Size(u64, bool),
    /// In data; bytes still to come.
    Data(u64),
    /// Before the line end behind data; bytes of it still to come.
    DataEnd(u8),
    /// In the trailer; whether the current line has any character.
    Trailer(bool),
}

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

    /// How it stands before anything came.
    #[must_use]
    pub fn begin(&self) -> Progress {
        if self.framing == Framing::Length(0) {
            Progress::Whole
        } else {
            Progress::More
        }
    }

    /// Takes what came; says how the body stands and how much of the input belonged to it.
    pub fn take(&mut self, input: &[u8]) -> (Progress, usize) {
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            match self.framing {
                Framing::Close => {
                    at = input.len();
                    if !self.payload(rest) {
                        return (Progress::Wrong, at);
                    }
                }
                Framing::Length(left) => {
                    let part = first(rest, left);
                    at += part.len();
                    if !self.payload(part) {
                        return (Progress::Wrong, at);
                    }
                    let left = left - part.len() as u64;
                    self.framing = Framing::Length(left);
                    if left == 0 {
                        return (Progress::Whole, at);
                    }
                }
                Framing::Chunked(Chunk::Data(left)) => {
                    let part = first(rest, left);
                    at += part.len();
                    if !self.payload(part) {
                        return (Progress::Wrong, at);
                    }
                    let left = left - part.len() as u64;
                    self.framing = Framing::Chunked(if left == 0 {
                        Chunk::DataEnd(2)
                    } else {
                        Chunk::Data(left)
                    });
                }
                Framing::Chunked(chunk) => {
                    at += 1;
                    match step(chunk, rest[0]) {
                        Some(Some(next)) => self.framing = Framing::Chunked(next),
                        Some(None) => return (Progress::Whole, at),
                        None => return (Progress::Broken, at),
                    }
                }
            }
        }
        (Progress::More, at)
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

fn first(rest: &[u8], most: u64) -> &[u8] {
    &rest[..rest.len().min(usize::try_from(most).unwrap_or(usize::MAX))]
}

/// One byte outside of chunk data: the next state, the end (inner none), or broken (outer none).
fn step(chunk: Chunk, byte: u8) -> Option<Option<Chunk>> {
    Some(Some(match (chunk, byte) {
        (Chunk::Size(0, _), b'\n') => Chunk::Trailer(false),
        (Chunk::Size(size, _), b'\n') => Chunk::Data(size),
        (Chunk::Size(size, false), digit) if digit.is_ascii_hexdigit() => {
            let digit = char::from(digit).to_digit(16)?;
            Chunk::Size(size.checked_mul(16)?.checked_add(u64::from(digit))?, false)
        }
        (Chunk::Size(size, _), b';' | b'\r' | b' ') => Chunk::Size(size, true),
        (Chunk::Size(size, true), _) => Chunk::Size(size, true),
        (Chunk::DataEnd(2), b'\r') => Chunk::DataEnd(1),
        (Chunk::DataEnd(1), b'\n') => Chunk::Size(0, false),
        (Chunk::Trailer(false), b'\n') => return Some(None),
        (Chunk::Trailer(true), b'\n') => Chunk::Trailer(false),
        (Chunk::Trailer(any), b'\r') => Chunk::Trailer(any),
        (Chunk::Trailer(_), _) => Chunk::Trailer(true),
        _ => return None,
    }))
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

    fn chunked(body: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for part in body.chunks(size) {
            out.extend(format!("{:X};x=1\r\n", part.len()).as_bytes());
            out.extend(part);
            out.extend(b"\r\n");
        }
        out.extend(b"0\r\nT: 1\r\n\r\n");
        out
    }

    #[test]
    fn a_chunked_body_is_whole_however_it_arrives() {
        let wire = chunked(&bytes(1000), 300);
        for step in [1, 7, 300, 5000] {
            let mut body = Body::new(Framing::Chunked(Chunk::Size(0, false)), file(1000));
            let mut last = Progress::More;
            for part in wire.chunks(step) {
                assert_eq!(last, Progress::More);
                last = body.take(part).0;
            }
            assert_eq!((last, body.bytes), (Progress::Whole, 1000));
        }
    }

    #[test]
    fn what_follows_a_body_is_left() {
        let mut wire = bytes(10);
        wire.extend(b"HTTP/1.1");
        let mut body = Body::new(Framing::Length(10), file(10));
        assert_eq!(body.take(&wire), (Progress::Whole, 10));
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

    #[test]
    fn broken_chunked_coding_is_seen() {
        let mut body = Body::new(Framing::Chunked(Chunk::Size(0, false)), Expected::Text);
        assert_eq!(body.take(b"3\r\nabcd\r\n").0, Progress::Broken);
    }
}
