//! Where an HTTP/1.1 response ends (RFC 9112 §6.3). Pure: bytes in, pieces of the body out.
//!
//! The framing is parsed here, not left to the HTTP client, because a truncated body must never look complete: the only ways to end
//! are [`Step::End`] and an error.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};

use super::chunked::{self, BadLine, MAX_TRAILERS};

/// The most header fields in a response.
const MAX_FIELDS: usize = 128;
/// Bytes of a chunked body that may be something else than data, beyond an allowance for each chunk (see [`Decoder::overhead`]).
const MAX_OVERHEAD: u64 = 16 * 1024;
/// Bytes of each chunk-size line that are free: size, a short extension and CRLF.
const LINE: u64 = 16;

/// How a response body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body: to HEAD, or with 1xx, 204, 304.
    None,
    /// Content-Length, in bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Everything until the connection closes.
    UntilClose,
}

/// What a response head says about the message's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length of the head in bytes, with the empty line.
    pub len: usize,
    /// The status code.
    pub status: u16,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the connection may be reused after this response.
    pub keep_alive: bool,
    /// Whether it declares a body where none is allowed. Some origins send that body all the same.
    pub declares_forbidden_body: bool,
}

/// A response that violates HTTP/1.1 framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The head is not HTTP/1.x.
    #[error("the response head is not HTTP/1.x: {0}")]
    Head(httparse::Error),
    /// Conflicting Content-Length values, or one that is not a number.
    #[error("the Content-Length is not one number")]
    Length,
    /// A transfer coding other than chunked.
    #[error("the Transfer-Encoding is not chunked")]
    Coding,
    /// A chunk size is not a hexadecimal number, the CRLF behind a chunk is missing, or there is almost nothing but extensions.
    #[error("the chunked coding is broken")]
    Chunk,
    /// Trailers are malformed or too long.
    #[error("the trailer section is broken or too long")]
    Trailers,
}

impl Head {
    /// Parses a response head; `None` while it is incomplete. `to_head`: the request was HEAD.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for what no HTTP/1.x origin sends.
    pub fn parse(bytes: &[u8], to_head: bool) -> Result<Option<Self>, Malformed> {
        Self::parse_with(bytes, to_head, |_, _| {})
    }

    /// The same; `field_of` is called with every field's name and value once the head is complete.
    ///
    /// # Errors
    ///
    /// As [`Head::parse`].
    pub fn parse_with(
        bytes: &[u8],
        to_head: bool,
        mut field_of: impl FnMut(&str, &[u8]),
    ) -> Result<Option<Self>, Malformed> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            // Whitespace before the colon is removed, not refused (RFC 9112 §5.1).
            .allow_spaces_after_header_name_in_responses(true)
            .allow_multiple_spaces_in_response_status_delimiters(true)
            .parse_response_with_uninit_headers(&mut response, bytes, &mut fields)
            .map_err(Malformed::Head)?;
        let len = match parsed {
            httparse::Status::Complete(len) => len,
            httparse::Status::Partial => return Ok(None),
        };
        let status = response.code.unwrap_or_default();
        let mut keep_alive = response.version == Some(1);
        let mut length = None;
        let mut chunked = false;
        for field in response.headers.iter() {
            field_of(field.name, field.value);
            if field.name.eq_ignore_ascii_case("content-length") {
                let value = parse_length(field.value).ok_or(Malformed::Length)?;
                if length.is_some_and(|earlier| earlier != value) {
                    return Err(Malformed::Length);
                }
                length = Some(value);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                for coding in field.value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                    // Obsolete name for no coding (RFC 2616 §3.6).
                    if coding.eq_ignore_ascii_case(b"identity") {
                        continue;
                    }
                    if !coding.eq_ignore_ascii_case(b"chunked") || chunked {
                        return Err(Malformed::Coding);
                    }
                    chunked = true;
                }
            } else if field.name.eq_ignore_ascii_case("connection") {
                for option in field.value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        keep_alive = false;
                    } else if option.eq_ignore_ascii_case(b"keep-alive")
                        && response.version == Some(0)
                    {
                        keep_alive = true;
                    }
                }
            }
        }
        let framing = if to_head || status < 200 || status == 204 || status == 304 {
            Framing::None
        } else if chunked {
            // With both fields present Transfer-Encoding wins and the connection must close (RFC 9112 §6.3).
            keep_alive &= length.is_none();
            Framing::Chunked
        } else {
            match length {
                Some(length) => Framing::Length(length),
                None => Framing::UntilClose,
            }
        };
        keep_alive &= framing != Framing::UntilClose;
        Ok(Some(Head {
            len,
            status,
            framing,
            keep_alive,
            declares_forbidden_body: framing == Framing::None
                && (chunked || length.is_some_and(|n| n > 0)),
        }))
    }
}

/// The value of Content-Length; a list of equal numbers counts as one (RFC 9110 §8.6).
fn parse_length(value: &[u8]) -> Option<u64> {
    let mut length = None;
    for item in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
        if item.is_empty() || !item.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = std::str::from_utf8(item).ok()?.parse().ok()?;
        if length.is_some_and(|earlier: u64| earlier != number) {
            return None;
        }
        length = Some(number);
    }
    length
}

/// What the decoder found in the buffered bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A piece of the body, never empty.
    Data(Bytes),
    /// More bytes are needed.
    NeedMore,
    /// The body is complete.
    End,
}

/// Decodes one body to its end.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of the current chunk that were returned already.
    given: u64,
    /// Bytes of chunk-size lines, beyond [`LINE`] for each and two for each byte of data. Limits an origin that sends almost
    /// nothing but extensions.
    overhead: u64,
}

#[derive(Debug)]
enum State {
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers(usize),
    UntilClose,
    End,
}

impl Decoder {
    /// A decoder at a body's first byte.
    pub fn new(framing: Framing) -> Self {
        Decoder {
            state: match framing {
                Framing::None | Framing::Length(0) => State::End,
                Framing::Length(n) => State::Length(n),
                Framing::Chunked => State::ChunkSize,
                Framing::UntilClose => State::UntilClose,
            },
            given: 0,
            overhead: 0,
        }
    }

    /// How many of the bytes returned last belong to a chunk whose end was not seen yet. They are unverified: with a chunk size
    /// that is one too large, the CR behind the chunk would be its last byte.
    pub fn unproven(&self) -> u64 {
        self.given
    }

    /// Whether the body is complete.
    pub fn is_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// How many more body bytes are certain to follow, if known: of the current chunk, or of the Content-Length.
    pub fn expected(&self) -> Option<u64> {
        match self.state {
            State::Length(n) | State::ChunkData(n) => Some(n),
            _ => None,
        }
    }

    /// How many bytes of the whole body are still missing, if known.
    pub fn expected_in_all(&self) -> Option<u64> {
        match self.state {
            State::Length(n) => Some(n),
            State::End => Some(0),
            _ => None,
        }
    }

    /// Takes bytes of the body from `buf`; what follows the body stays there.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the chunked coding is invalid.
    pub fn step(&mut self, buf: &mut BytesMut) -> Result<Step, Malformed> {
        loop {
            match &mut self.state {
                State::End => return Ok(Step::End),
                _ if buf.is_empty() => return Ok(Step::NeedMore),
                State::UntilClose => return Ok(Step::Data(buf.split().freeze())),
                State::Length(left) | State::ChunkData(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                    *left -= n as u64;
                    let is_last = *left == 0;
                    if matches!(self.state, State::ChunkData(_)) {
                        self.given += n as u64;
                        if is_last {
                            self.state = State::ChunkEnd;
                        }
                    } else if is_last {
                        self.state = State::End;
                    }
                    return Ok(Step::Data(buf.split_to(n).freeze()));
                }
                State::ChunkEnd => {
                    if buf.len() < 2 {
                        return if buf[0] == b'\r' {
                            Ok(Step::NeedMore)
                        } else {
                            Err(Malformed::Chunk)
                        };
                    }
                    if &buf[..2] != b"\r\n" {
                        return Err(Malformed::Chunk);
                    }
                    buf.advance(2);
                    self.given = 0;
                    self.state = State::ChunkSize;
                }
                State::ChunkSize => {
                    let line = chunked::size_line(buf).map_err(|BadLine| Malformed::Chunk)?;
                    let Some((len, size)) = line else {
                        return Ok(Step::NeedMore);
                    };
                    let allowed = size.saturating_mul(2).saturating_add(LINE);
                    self.overhead = (self.overhead + len as u64).saturating_sub(allowed);
                    if self.overhead > MAX_OVERHEAD {
                        return Err(Malformed::Chunk);
                    }
                    buf.advance(len);
                    self.state = match size {
                        0 => State::Trailers(0),
                        size => State::ChunkData(size),
                    };
                }
                State::Trailers(seen) => {
                    let line = chunked::trailer_line(buf).map_err(|BadLine| Malformed::Trailers)?;
                    let Some((len, is_empty)) = line else {
                        return Ok(Step::NeedMore);
                    };
                    *seen += len;
                    if *seen > MAX_TRAILERS {
                        return Err(Malformed::Trailers);
                    }
                    buf.advance(len);
                    if is_empty {
                        self.state = State::End;
                    }
                }
            }
        }
    }

    /// Whether the connection may close here: only a body without length or chunks ends so.
    pub fn ends_at_close(&mut self) -> bool {
        if matches!(self.state, State::UntilClose) {
            self.state = State::End;
        }
        self.is_end()
    }
}
