//! Follows a request's body through the bytes as they arrive, to find its end. Pure: the bytes are not copied, and body data is
//! only counted, not inspected.
//!
//! Stricter than actix-http, which parses the same bytes afterwards: whatever another server before or behind this one could parse
//! differently is refused, against request smuggling (RFC 9112 §7.1, §11.2).

use super::request_head::RequestFraming;

/// Longest chunk-size line in bytes, with extensions.
const MAX_SIZE_LINE: u64 = 4096;
/// Bytes of padding and chunk extensions that one body may have beyond its data.
const MAX_OVERHEAD: u64 = 16 * 1024;
/// Longest trailer section in bytes.
const MAX_TRAILERS: usize = 16 * 1024;
/// Length of the longest name in [`FORBIDDEN`].
const LONGEST: usize = b"if-unmodified-since".len();

/// Fields that are refused in trailers, because they frame or route the message, change the request or name its sender (RFC 9110
/// §6.5.1).
const FORBIDDEN: [&str; 28] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// A chunk-size line, or the CRLF behind a chunk's data, is malformed.
    #[error("a chunk that is not as RFC 9112 wants it")]
    Chunk,
    /// Too many bytes of chunk extensions.
    #[error("too many chunk extensions")]
    Extensions,
    /// A trailer field is malformed.
    #[error("a trailer field that is not as RFC 9112 wants it")]
    Trailer,
    /// A trailer field that is allowed only in a head.
    #[error("a field that may not be a trailer")]
    ForbiddenTrailer,
    /// The trailer section is too long.
    #[error("too many trailer fields")]
    Trailers,
}

/// Parser state: where in a request's body the last byte was.
#[derive(Debug)]
pub struct BodyScan {
    at: At,
    /// Size of the current chunk, as far as it was parsed.
    size: u64,
    /// Bytes of the current line, or of the trailer section.
    line: u64,
    /// Bytes of body data so far.
    data: u64,
    /// Bytes of padding and chunk extensions so far.
    overhead: u64,
    trailers: usize,
    /// The name of the current trailer field, cut to the longest forbidden name.
    name: [u8; LONGEST],
    name_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a body with Content-Length; the bytes that are left.
    Length(u64),
    /// Before the first digit of a chunk size.
    SizeBegin,
    Size,
    /// In whitespace behind a chunk size.
    SizeEnd,
    Extension,
    /// Behind the CR of a chunk-size line.
    SizeLf,
    /// In a chunk's data; the bytes that are left.
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a line in the trailer section.
    TrailerBegin,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// Behind the CR of the empty line that ends the trailer section.
    LastLf,
    Over,
}

impl BodyScan {
    /// A scan before the first byte of the body.
    pub fn new(framing: RequestFraming) -> Self {
        BodyScan {
            at: match framing {
                RequestFraming::Length(0) => At::Over,
                RequestFraming::Length(length) => At::Length(length),
                RequestFraming::Chunked => At::SizeBegin,
            },
            size: 0,
            line: 0,
            data: 0,
            overhead: 0,
            trailers: 0,
            name: [0; LONGEST],
            name_len: 0,
        }
    }

    /// Whether the last byte of the body was seen.
    pub fn is_over(&self) -> bool {
        self.at == At::Over
    }

    /// Returns how many of `bytes` belong to the body.
    ///
    /// # Errors
    ///
    /// [`BadBody`] if servers could disagree on where the body ends.
    pub fn step(&mut self, bytes: &[u8]) -> Result<usize, BadBody> {
        let mut n = 0;
        while n < bytes.len() && self.at != At::Over {
            if let At::Length(left) | At::Data(left) = self.at {
                let here = left.min((bytes.len() - n) as u64);
                n += here as usize;
                self.data += here;
                self.at = match (self.at, left - here) {
                    (At::Length(_), 0) => At::Over,
                    (At::Length(_), left) => At::Length(left),
                    (_, 0) => At::DataCr,
                    (_, left) => At::Data(left),
                };
            } else {
                self.at = self.byte(bytes[n])?;
                n += 1;
            }
        }
        Ok(n)
    }

    /// The next state after one byte that is not body data.
    fn byte(&mut self, byte: u8) -> Result<At, BadBody> {
        Ok(match (self.at, byte) {
            (At::SizeBegin, _) => {
                self.size = u64::from(digit(byte).ok_or(BadBody::Chunk)?);
                self.line = 1;
                At::Size
            }
            (At::Size | At::SizeEnd | At::Extension, b'\r') => At::SizeLf,
            (At::Size | At::SizeEnd, b' ' | b'\t') => self.padded(At::SizeEnd)?,
            (At::Size | At::SizeEnd, b';') => self.padded(At::Extension)?,
            (At::Size, _) => {
                let digit = digit(byte).ok_or(BadBody::Chunk)?;
                if self.size == 0 {
                    // a leading zero
                    self.padded(At::Size)?;
                }
                let size = self.size.checked_mul(16).ok_or(BadBody::Chunk)?;
                self.size = size + u64::from(digit);
                At::Size
            }
            (At::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.padded(At::Extension)?,
            (At::SizeLf, b'\n') if self.size == 0 => At::TrailerBegin,
            (At::SizeLf, b'\n') => At::Data(self.size),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::SizeBegin,
            (At::TrailerBegin, b'\r') => At::LastLf,
            (At::LastLf, b'\n') => At::Over,
            (At::LastLf, _) => return Err(BadBody::Trailer),
            (At::TrailerBegin, _) => {
                self.name_len = 0;
                self.named(byte)?
            }
            (At::TrailerName, b':') => {
                if self.is_forbidden() {
                    return Err(BadBody::ForbiddenTrailer);
                }
                self.trailed(At::TrailerValue)?
            }
            (At::TrailerName, _) => self.named(byte)?,
            (At::TrailerValue, b'\r') => self.trailed(At::TrailerLf)?,
            (At::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => self.trailed(At::TrailerValue)?,
            (At::TrailerLf, b'\n') => At::TrailerBegin,
            (At::TrailerValue | At::TrailerLf, _) => return Err(BadBody::Trailer),
            _ => return Err(BadBody::Chunk),
        })
    }

    /// Counts one byte of padding or extension, then goes to `then`.
    fn padded(&mut self, then: At) -> Result<At, BadBody> {
        self.line += 1;
        self.overhead += 1;
        if self.line > MAX_SIZE_LINE || self.overhead > MAX_OVERHEAD + self.data {
            return Err(BadBody::Extensions);
        }
        Ok(then)
    }

    /// Takes one byte of a trailer field's name.
    fn named(&mut self, byte: u8) -> Result<At, BadBody> {
        if !is_token(byte) {
            return Err(BadBody::Trailer);
        }
        if let Some(place) = self.name.get_mut(self.name_len) {
            *place = byte;
        }
        self.name_len += 1;
        self.trailed(At::TrailerName)
    }

    /// Counts one byte of the trailer section, then goes to `then`.
    fn trailed(&mut self, then: At) -> Result<At, BadBody> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            return Err(BadBody::Trailers);
        }
        Ok(then)
    }

    fn is_forbidden(&self) -> bool {
        let name = self.name.get(..self.name_len);
        name.is_some_and(|name| {
            FORBIDDEN
                .iter()
                .any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
        })
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Whether a byte may be part of a field name (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans `text` in one step and byte by byte, and checks that the results are equal.
    fn scan(text: &[u8]) -> Result<(usize, bool), BadBody> {
        let mut whole = BodyScan::new(RequestFraming::Chunked);
        let mut single = BodyScan::new(RequestFraming::Chunked);
        let at_once = whole.step(text).map(|n| (n, whole.is_over()));
        let one_by_one = text.iter().try_fold(0, |n, byte| {
            single.step(std::slice::from_ref(byte)).map(|more| n + more)
        });
        assert_eq!(at_once, one_by_one.map(|n| (n, single.is_over())));
        at_once
    }

    #[test]
    fn a_body_in_chunks_ends_behind_its_trailers() {
        for text in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "0003\r\nabc\r\n00\r\n\r\n",
            "A\r\n0123456789\r\na;x\r\n0123456789\r\n0\r\n\r\n",
            "3 \t;name=\"va lue\"\r\nabc\r\n0;last\r\n\r\n",
            "0\r\nX-Checksum: abc\r\nDigest:\r\nX: \tb c\t\r\n\r\n",
        ] {
            let behind = format!("{text}GET /");
            assert_eq!(scan(behind.as_bytes()), Ok((text.len(), true)), "{text}");
            for cut in 0..text.len() {
                assert_eq!(scan(&text.as_bytes()[..cut]), Ok((cut, false)), "{text}");
            }
        }
    }

    #[test]
    fn a_body_with_a_length_ends_at_its_last_byte() {
        let mut scan = BodyScan::new(RequestFraming::Length(5));
        assert_eq!(scan.step(b"abc"), Ok(3));
        assert!(!scan.is_over());
        assert_eq!(scan.step(b"deGET"), Ok(2));
        assert!(scan.is_over());
        assert!(BodyScan::new(RequestFraming::Length(0)).is_over());
    }

    #[test]
    fn chunks_that_could_be_read_in_two_ways_are_refused() {
        for text in [
            "\r\n",
            "\n",
            " 3\r\nabc",
            "+3\r\nabc",
            "-3\r\nabc",
            "0x3\r\nabc",
            "3_0\r\nabc",
            "3g\r\nabc",
            "g\r\n",
            "3 3\r\nabc",
            "3,3\r\nabc",
            "3\nabc",
            "3;x\nabc",
            "3;x\0\r\nabc",
            "3\r\r\nabc",
            "3\rabc",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabc0\r\n\r\n",
            "3\r\nabc\r0\r\n\r\n",
            "10000000000000000\r\n",
            "ffffffffffffffff0\r\n",
            "0\n\r\n",
        ] {
            assert_eq!(scan(text.as_bytes()), Err(BadBody::Chunk), "{text:?}");
        }
    }

    #[test]
    fn trailers_that_could_be_read_in_two_ways_are_refused() {
        for text in [
            "\n",
            "\r\r\n",
            "X: y\n\r\n",
            "X: y\r\n\n",
            "nonsense\r\n\r\n",
            ": y\r\n\r\n",
            "X : y\r\n\r\n",
            " X: y\r\n\r\n",
            "X: a\r\n b\r\n\r\n",
            "X: a\r\n\tb\r\n\r\n",
            "X: \0\r\n\r\n",
            "X: a\rb\r\n\r\n",
            "X\0: a\r\n\r\n",
            "GET /two HTTP/1.1\r\n\r\n",
        ] {
            let text = format!("0\r\n{text}");
            assert_eq!(scan(text.as_bytes()), Err(BadBody::Trailer), "{text:?}");
        }
        for name in [
            "Content-Length",
            "TRANSFER-ENCODING",
            "host",
            "Cookie",
            "te",
        ] {
            let text = format!("0\r\n{name}: 5\r\n\r\n");
            assert_eq!(scan(text.as_bytes()), Err(BadBody::ForbiddenTrailer));
        }
    }

    #[test]
    fn extensions_and_trailers_without_end_are_refused() {
        let line = format!("1;{}\r\nx", "a".repeat(5000));
        assert_eq!(scan(line.as_bytes()), Err(BadBody::Extensions));
        let zeros = "0".repeat(5000);
        assert_eq!(scan(zeros.as_bytes()), Err(BadBody::Extensions));
        let many = format!("1;{}\r\nx\r\n", "a".repeat(1000)).repeat(20);
        assert_eq!(scan(many.as_bytes()), Err(BadBody::Extensions));
        let trailers = format!("0\r\n{}", "X: y\r\n".repeat(5000));
        assert_eq!(scan(trailers.as_bytes()), Err(BadBody::Trailers));
        let long = format!("0\r\n{}", "x".repeat(20_000));
        assert_eq!(scan(long.as_bytes()), Err(BadBody::Trailers));
        // Chunk signatures of S3 uploads are long extensions, but not a flood.
        let data = "x".repeat(1000);
        let signed = format!("3e8;chunk-signature={}\r\n{data}\r\n", "f".repeat(64)).repeat(400);
        let text = format!("{signed}0\r\n\r\n");
        assert_eq!(scan(text.as_bytes()), Ok((text.len(), true)));
    }

    #[test]
    fn no_name_is_longer_than_what_is_kept_of_it() {
        assert!(FORBIDDEN.iter().all(|name| name.len() <= LONGEST));
    }
}
