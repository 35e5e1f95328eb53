//! Passes a client's requests on one at a time: the next one only after the current one is answered. Pure: it knows buffers, but
//! neither sockets nor time.
//!
//! actix-http parses whatever it reads, and answers by the last head's method, version and Connection; so it must not see a head
//! before the previous response is sent.

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::{
    body_scan::BodyScan,
    head_scan::HeadScan,
    later_version,
    raw_target::{encode_target, has_raw_target},
    refusal::Refusal,
    request_head::{self, Offer, RequestFraming, RequestHead},
};

/// State of a connection's requests.
#[derive(Debug)]
pub struct RequestReader {
    max_head: usize,
    phase: Phase,
    scan: HeadScan,
    /// A head to pass on first, because it arrived in pieces or was changed.
    head: BytesMut,
    /// Bytes received but not passed on.
    kept: BytesMut,
    /// How many of the kept bytes were inspected: the start of a head, or body bytes that may be passed on.
    seen: usize,
    /// Heads passed on.
    requests: u64,
    /// Whether the last of them is answered.
    answered: bool,
    /// Whether it offers to switch protocols, to WebSocket as actix-http sees it.
    offers: bool,
    /// The offered protocol, if it is not WebSocket.
    other: Option<Bytes>,
}

/// What the next byte from the client belongs to.
#[derive(Debug)]
enum Phase {
    /// Between requests, or in a head.
    Head,
    /// In a body.
    Body(BodyScan),
    /// Behind a request that is not answered yet.
    Answer,
    /// Behind an invalid body: nothing is passed on any more.
    Lost,
    /// Another protocol after a switch.
    Raw,
}

impl RequestReader {
    /// Before the first request. A head has at most `max_head` bytes.
    pub fn new(max_head: usize) -> Self {
        RequestReader {
            max_head,
            phase: Phase::Head,
            scan: HeadScan::default(),
            head: BytesMut::new(),
            kept: BytesMut::new(),
            seen: 0,
            requests: 0,
            answered: true,
            offers: false,
            other: None,
        }
    }

    /// Heads passed on so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether the next head is awaited, and none of it has arrived.
    pub fn is_clean(&self) -> bool {
        let holds_none = self.kept.is_empty() && self.head.is_empty();
        matches!(self.phase, Phase::Head) && self.answered && holds_none
    }

    /// Counts a head that was answered without passing it on (rendered response).
    pub fn passed_by(&mut self) {
        self.requests += 1;
    }

    /// Whether a request is not answered yet.
    pub fn is_unanswered(&self) -> bool {
        !self.answered
    }

    /// Whether the last request offers to switch protocols: to WebSocket, as actix-http sees it.
    pub fn offers_websocket(&self) -> bool {
        self.offers
    }

    /// Takes the protocol that the last request offers, if it is not WebSocket.
    pub fn takes_other(&mut self) -> Option<Bytes> {
        self.other.take()
    }

    /// Bytes of an incomplete head.
    pub fn begun_head(&self) -> usize {
        match self.phase {
            Phase::Head => self.kept.len(),
            _ => 0,
        }
    }

    /// Whether the next head is awaited.
    pub fn is_between_bodies(&self) -> bool {
        matches!(self.phase, Phase::Head)
    }

    /// Whether bytes that arrive now must wait for a response.
    pub fn waits(&self) -> bool {
        matches!(self.phase, Phase::Answer | Phase::Lost)
    }

    /// Whether the connection has switched to another protocol.
    pub fn is_raw(&self) -> bool {
        matches!(self.phase, Phase::Raw)
    }

    /// Whether the last body was invalid.
    pub fn is_lost(&self) -> bool {
        matches!(self.phase, Phase::Lost)
    }

    /// Bytes received that wait.
    pub fn waiting(&self) -> usize {
        self.kept.len()
    }

    /// The last request is answered: the next may be passed on.
    pub fn answer(&mut self) {
        self.answered = true;
        if matches!(self.phase, Phase::Answer) {
            self.phase = Phase::Head;
        }
    }

    /// Switches to another protocol: from now on all bytes are passed on unchanged.
    pub fn switch(&mut self) {
        self.phase = Phase::Raw;
        self.seen = 0;
    }

    /// Passes nothing on any more.
    pub fn lose(&mut self) {
        self.phase = Phase::Lost;
        (self.head, self.kept, self.seen) = (BytesMut::new(), BytesMut::new(), 0);
    }

    /// Keeps bytes that arrive while a response is awaited.
    pub fn keep(&mut self, bytes: &[u8]) {
        if !self.is_lost() {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// Inspects the bytes of `buf` from `from` on: leaves those that may be passed on, and keeps the rest.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if they are not valid HTTP. None may be passed on.
    pub fn accept(&mut self, buf: &mut ReadBuf<'_>, from: usize) -> Result<(), Refusal> {
        let n = if self.head.is_empty() && self.kept.is_empty() {
            self.pass(&buf.filled()[from..])?
        } else {
            None
        };
        let end = from + n.unwrap_or(0);
        self.kept.extend_from_slice(&buf.filled()[end..]);
        buf.set_filled(end);
        match n {
            Some(_) => Ok(()),
            None => self.release(buf),
        }
    }

    /// How many of the bytes may be passed on in place; none if they must be kept first.
    fn pass(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let mut n = 0;
        if matches!(self.phase, Phase::Head) {
            let mut scan = HeadScan::default();
            n = scan.step(bytes);
            let head = &bytes[..n];
            let is_changed = || has_raw_target(head) || later_version::digit(head).is_some();
            if !scan.is_whole() || n > self.max_head || is_changed() {
                return Ok(None);
            }
            let head = RequestHead::parse(&bytes[..n])?;
            if matches!(head.offer, Offer::Ignored | Offer::Other) {
                return Ok(None);
            }
            self.begin(head);
        }
        match &mut self.phase {
            Phase::Raw => n = bytes.len(),
            Phase::Body(body) => {
                n += body.step(&bytes[n..])?;
                self.end_body();
            }
            Phase::Head | Phase::Answer | Phase::Lost => {}
        }
        Ok(Some(n))
    }

    /// Puts kept bytes that may be passed on now into `buf`.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if they are not valid HTTP. None may be passed on.
    pub fn release(&mut self, buf: &mut ReadBuf<'_>) -> Result<(), Refusal> {
        if matches!(self.phase, Phase::Head) && !self.kept.is_empty() {
            self.look_at_head()?;
        }
        give(&mut self.head, usize::MAX, buf);
        if !self.head.is_empty() {
            return Ok(());
        }
        match &mut self.phase {
            Phase::Raw => {
                give(&mut self.kept, usize::MAX, buf);
            }
            Phase::Body(body) => {
                if self.seen == 0 {
                    self.seen = body.step(&self.kept)?;
                }
                self.seen -= give(&mut self.kept, self.seen, buf);
                self.end_body();
            }
            Phase::Head | Phase::Answer | Phase::Lost => {}
        }
        if self.kept.is_empty() {
            // Releases the memory that one burst needed.
            self.kept = BytesMut::new();
        }
        Ok(())
    }

    /// Inspects kept bytes that are a head, or the start of one.
    fn look_at_head(&mut self) -> Result<(), Refusal> {
        self.seen += self.scan.step(&self.kept[self.seen..]);
        if self.seen > self.max_head {
            return Err(Refusal::LongHead(self.max_head));
        }
        if !self.scan.has_begun() {
            // Empty lines before a request do not begin one: some clients send one after a body.
            self.kept.advance(self.seen);
            self.seen = 0;
        }
        if !self.scan.is_whole() {
            return Ok(());
        }
        let mut head = self.kept.split_to(self.seen);
        if has_raw_target(&head) {
            head = encode_target(&head);
        }
        if let Some(digit) = later_version::digit(&head) {
            head[digit] = b'1';
        }
        let parsed = RequestHead::parse(&head)?;
        match parsed.offer {
            Offer::Ignored => request_head::remove_offer(&mut head),
            Offer::Other => self.other = Some(request_head::name_websocket(&mut head)),
            Offer::WebSocket | Offer::None => {}
        }
        self.begin(parsed);
        if let Phase::Body(body) = &mut self.phase {
            // An invalid start of the body is refused before the head is passed on.
            self.seen = body.step(&self.kept)?;
        }
        self.head = head;
        Ok(())
    }

    /// A head is passed on.
    fn begin(&mut self, head: RequestHead) {
        self.requests += 1;
        self.answered = false;
        self.offers = matches!(head.offer, Offer::WebSocket | Offer::Other);
        self.scan = HeadScan::default();
        self.seen = 0;
        self.phase = match head.framing {
            RequestFraming::Length(0) => Phase::Answer,
            framing => Phase::Body(BodyScan::new(framing)),
        };
    }

    /// Handles the end of a body that was passed on completely.
    fn end_body(&mut self) {
        if let Phase::Body(body) = &self.phase
            && body.is_over()
            && self.seen == 0
        {
            self.phase = match self.answered {
                true => Phase::Head,
                false => Phase::Answer,
            };
        }
    }
}

/// Moves at most `most` bytes as space allows; returns how many.
fn give(from: &mut BytesMut, most: usize, to: &mut ReadBuf<'_>) -> usize {
    let n = from.len().min(most).min(to.remaining());
    to.put_slice(&from[..n]);
    from.advance(n);
    n
}
