//! Where an HTTP/1.1 response ends (RFC 9112 §6.3). Pure: bytes in, pieces of the body out.
//!
//! The framing is followed here, and not left to the HTTP client, because a body that was cut must never look whole:
//! every way to end is either [`Step::End`] or an error.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};

use super::chunked::{self, BadLine, MAX_TRAILERS};

/// Most header fields of a response.
const MAX_FIELDS: usize = 128;
/// How much of a chunked body may be something else than data, beyond what small chunks need (see [`Decoder::overhead`]).
const MAX_OVERHEAD: u64 = 16 * 1024;
/// What a chunk's size line may have for nothing: a size, an extension and CRLF.
const LINE: u64 = 16;

/// How a response body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none: HEAD, 1xx, 204, 304.
    None,
    /// Content-Length, in bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// All until the connection closes.
    UntilClose,
}

/// What a response head says of the message that it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its length in bytes, the empty line included.
    pub len: usize,
    /// The status code.
    pub status: u16,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the connection may be used again after it.
    pub keep_alive: bool,
    /// Whether it tells of a body where none may follow. Some origins send it all the same.
    pub tells_in_vain: bool,
}

/// A response that breaks the rules of HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The head is no HTTP/1.x.
    #[error("the response head is not HTTP/1.x: {0}")]
    Head(httparse::Error),
    /// Two lengths that differ, or one that is no number.
    #[error("the Content-Length is not one number")]
    Length,
    /// A transfer coding other than chunked.
    #[error("the Transfer-Encoding is not chunked")]
    Coding,
    /// A chunk's size is no hexadecimal number, or its end is missing; or there is next to nothing but extensions.
    #[error("the chunked coding is broken")]
    Chunk,
    /// Trailers that are no fields, or without end.
    #[error("the trailer section is broken or too long")]
    Trailers,
}

impl Head {
    /// Reads a response head; `None` while it is incomplete. `to_head` says that it answers a HEAD request.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for what no HTTP/1.x origin sends.
    pub fn parse(bytes: &[u8], to_head: bool) -> Result<Option<Self>, Malformed> {
        Self::parse_with(bytes, to_head, |_, _| {})
    }

    /// The same, and hands over each field's name and value, once the head is whole.
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
            // To be removed, not to be refused (RFC 9112 §5.1).
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
                    // It once named the absence of a coding (RFC 2616 §3.6).
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
            // A length beside it is a sign of trouble: the coding rules, the connection ends with the response.
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
            tells_in_vain: framing == Framing::None && (chunked || length.is_some_and(|n| n > 0)),
        }))
    }
}

/// The digits of a Content-Length; a list of equal ones counts as one (RFC 9110 §8.6).
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

/// What came out of the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A piece of the body, never empty.
    Data(Bytes),
    /// More bytes are needed.
    NeedMore,
    /// The body is whole.
    End,
}

/// Follows one body to its end.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of the chunk at hand that came out already.
    given: u64,
    /// Bytes of size lines, beyond [`LINE`] for each and two for each byte of data: an origin that sends next to nothing
    /// but extensions keeps the proxy busy for no body.
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

    /// How many of the bytes that came out last belong to a chunk whose end was not seen yet. If its size was wrong, they
    /// may be anything: a size one too large makes the CR behind the chunk its last byte.
    pub fn unproven(&self) -> u64 {
        self.given
    }

    /// Whether the body is whole.
    pub fn is_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// How many more body bytes are sure to come, where that is known.
    pub fn expected(&self) -> Option<u64> {
        match self.state {
            State::Length(n) | State::ChunkData(n) => Some(n),
            _ => None,
        }
    }

    /// How many more bytes the whole body has, where that is known.
    pub fn expected_in_all(&self) -> Option<u64> {
        match self.state {
            State::Length(n) => Some(n),
            State::End => Some(0),
            _ => None,
        }
    }

    /// Takes what belongs to the body from `buf`; what follows the body stays there.
    ///
    /// # Errors
    ///
    /// [`Malformed`] where the chunked coding is broken.
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

    /// Whether the connection may close here: only a body that runs to the close ends so.
    pub fn ends_at_close(&mut self) -> bool {
        if matches!(self.state, State::UntilClose) {
            self.state = State::End;
        }
        self.is_end()
    }
}
