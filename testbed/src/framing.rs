//! Where a body ends (RFC 9112, section 6.3).

use crate::head::fields;

/// What frames a body, and how far it has come.
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
    /// Behind it.
    End,
}

/// The chunked coding is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Framing {
    /// By a message's head: chunked, or else its length, or else none but the close; none where the length is no number.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        let codings = fields(head, "transfer-encoding");
        if codings.iter().any(|c| c.eq_ignore_ascii_case("chunked")) {
            return Some(Self::Chunked(Chunk::Size(0, false)));
        }
        match fields(head, "content-length").first() {
            Some(length) => length.parse().ok().map(Self::Length),
            None => Some(Self::Close),
        }
    }

    /// Whether the body is over; one that ends with the close never is.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End))
    }

    /// Takes the next part of the body off the front of `input`: how many bytes of it are used up, and how many of those, at
    /// their end, are body. Nothing is used up once the body is over, or when the input is empty.
    ///
    /// # Errors
    ///
    /// The chunked coding is broken.
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, usize), Broken> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let left = match self {
                Self::Close => return Ok((input.len(), input.len())),
                Self::Length(left) | Self::Chunked(Chunk::Data(left)) => left,
                Self::Chunked(Chunk::End) => return Ok((used, 0)),
                Self::Chunked(chunk) => {
                    let Some(byte) = rest.first() else {
                        return Ok((used, 0));
                    };
                    *chunk = step(*chunk, *byte).ok_or(Broken)?;
                    used += 1;
                    continue;
                }
            };
            let part = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= part as u64;
            if *self == Self::Chunked(Chunk::Data(0)) {
                *self = Self::Chunked(Chunk::DataEnd(2));
            }
            return Ok((used + part, part));
        }
    }
}

/// Behind one byte outside of chunk data; none: it may not stand there.
fn step(chunk: Chunk, byte: u8) -> Option<Chunk> {
    Some(match (chunk, byte) {
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
        (Chunk::Trailer(false), b'\n') => Chunk::End,
        (Chunk::Trailer(true), b'\n') => Chunk::Trailer(false),
        (Chunk::Trailer(any), b'\r') => Chunk::Trailer(any),
        (Chunk::Trailer(_), _) => Chunk::Trailer(true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body in what came, and what is left of it.
    fn body<'a>(framing: &mut Framing, wire: &'a [u8]) -> Result<(Vec<u8>, &'a [u8]), Broken> {
        let (mut body, mut rest) = (Vec::new(), wire);
        while !rest.is_empty() && !framing.is_over() {
            let (used, part) = framing.next(rest)?;
            body.extend_from_slice(&rest[used - part..used]);
            rest = &rest[used..];
        }
        Ok((body, rest))
    }

    const CHUNKED: &[u8] = b"3;x=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\nHTTP";

    #[test]
    fn a_chunked_body_is_whole_however_it_arrives() {
        for size in [1, 2, 7, CHUNKED.len()] {
            let mut framing = Framing::Chunked(Chunk::Size(0, false));
            let mut whole = Vec::new();
            for part in CHUNKED[..CHUNKED.len() - 4].chunks(size) {
                assert!(!framing.is_over());
                whole.extend(body(&mut framing, part).unwrap().0);
            }
            assert!(framing.is_over());
            assert_eq!(whole, b"abc0123456789");
        }
    }

    #[test]
    fn what_follows_a_body_is_left() {
        let mut framing = Framing::Chunked(Chunk::Size(0, false));
        assert_eq!(body(&mut framing, CHUNKED).unwrap().1, b"HTTP");
        let mut framing = Framing::Length(3);
        let (got, rest) = body(&mut framing, b"abcHTTP").unwrap();
        assert_eq!((&got[..], rest), (&b"abc"[..], &b"HTTP"[..]));
    }

    #[test]
    fn broken_chunked_coding_is_seen() {
        for wire in [&b"3\r\nabcd\r\n"[..], b"x\r\n", b"11111111111111111\r\n"] {
            let mut framing = Framing::Chunked(Chunk::Size(0, false));
            assert_eq!(body(&mut framing, wire), Err(Broken));
        }
    }

    #[test]
    fn a_head_says_what_frames_its_body() {
        let of = |lines: &str| Framing::of(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes());
        assert_eq!(of(""), Some(Framing::Close));
        assert_eq!(of("content-length: 3\r\n"), Some(Framing::Length(3)));
        let chunked = Some(Framing::Chunked(Chunk::Size(0, false)));
        let both = "Content-Length: 3\r\nTransfer-Encoding: Chunked\r\n";
        assert_eq!(of(both), chunked);
        assert_eq!(of("content-length: x\r\n"), None);
    }
}
