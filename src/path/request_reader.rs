//! Hands a client's requests on one at a time: head and body of one, and what is behind it only once that one is
//! answered. Pure: it knows buffers, and neither sockets nor time.
//!
//! actix-http decodes whatever it is given, and answers by what the last head said (HEAD, version, Connection); so
//! it must not see a head before the answer to the one before is out.

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

/// Where a connection is in its requests.
#[derive(Debug)]
pub struct RequestReader {
    max_head: usize,
    phase: Phase,
    scan: HeadScan,
    /// A head that goes on before anything else: it came in pieces, or was changed.
    head: BytesMut,
    /// What came and has not gone on.
    kept: BytesMut,
    /// How many of the kept bytes were looked at: the begin of a head, or of a body that may go on.
    seen: usize,
    /// Heads that went on.
    requests: u64,
    /// Whether the last of them is answered.
    answered: bool,
    /// Whether it offers to switch, as actix-http sees it to WebSocket.
    offers: bool,
    /// What it offers, where that is another protocol.
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
    /// Behind a body that is no HTTP: nothing goes on any more.
    Lost,
    /// Another protocol is spoken.
    Raw,
}

impl RequestReader {
    /// Before the first request. A head is at most `max_head` bytes long.
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

    /// Heads that went on so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether the next head is waited for, and nothing of it is here.
    pub fn is_clean(&self) -> bool {
        let holds_none = self.kept.is_empty() && self.head.is_empty();
        matches!(self.phase, Phase::Head) && self.answered && holds_none
    }

    /// A whole head was answered without going on.
    pub fn passed_by(&mut self) {
        self.requests += 1;
    }

    /// Whether a request is not answered yet.
    pub fn is_unanswered(&self) -> bool {
        !self.answered
    }

    /// Whether the last request offers to switch: as actix-http sees it, to WebSocket.
    pub fn offers_websocket(&self) -> bool {
        self.offers
    }

    /// What the last request offers, where that is another protocol than WebSocket.
    pub fn takes_other(&mut self) -> Option<Bytes> {
        self.other.take()
    }

    /// Bytes of a head that is not whole yet.
    pub fn begun_head(&self) -> usize {
        match self.phase {
            Phase::Head => self.kept.len(),
            _ => 0,
        }
    }

    /// Whether the next head is waited for.
    pub fn is_between_bodies(&self) -> bool {
        matches!(self.phase, Phase::Head)
    }

    /// Whether what comes now waits for an answer.
    pub fn waits(&self) -> bool {
        matches!(self.phase, Phase::Answer | Phase::Lost)
    }

    /// Whether another protocol is spoken.
    pub fn is_raw(&self) -> bool {
        matches!(self.phase, Phase::Raw)
    }

    /// Whether the last body was no HTTP.
    pub fn is_lost(&self) -> bool {
        matches!(self.phase, Phase::Lost)
    }

    /// Bytes that came and wait.
    pub fn waiting(&self) -> usize {
        self.kept.len()
    }

    /// The last request is answered: the next may go on.
    pub fn answer(&mut self) {
        self.answered = true;
        if matches!(self.phase, Phase::Answer) {
            self.phase = Phase::Head;
        }
    }

    /// From now on everything goes on as it is.
    pub fn switch(&mut self) {
        self.phase = Phase::Raw;
        self.seen = 0;
    }

    /// Nothing goes on any more.
    pub fn lose(&mut self) {
        self.phase = Phase::Lost;
        (self.head, self.kept, self.seen) = (BytesMut::new(), BytesMut::new(), 0);
    }

    /// Keeps what came while an answer is waited for.
    pub fn keep(&mut self, bytes: &[u8]) {
        if !self.is_lost() {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// Looks at what just came into `buf`, from `from` on: leaves there what may go on, and keeps the rest.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: it is no HTTP. Nothing of it may go on.
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

    /// How many of the bytes may go on from where they are; none where they must be kept first.
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

    /// Puts into `buf` what was kept and may go on now.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: it is no HTTP. Nothing of it may go on.
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
            // What one burst took is not held for the connection's life.
            self.kept = BytesMut::new();
        }
        Ok(())
    }

    /// Looks at kept bytes that are a head, or the begin of one.
    fn look_at_head(&mut self) -> Result<(), Refusal> {
        self.seen += self.scan.step(&self.kept[self.seen..]);
        if self.seen > self.max_head {
            return Err(Refusal::LongHead(self.max_head));
        }
        if !self.scan.has_begun() {
            // Empty lines before a request are no begin of one: some clients send one behind a body.
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
            // A body that is no HTTP from its begin is refused before anybody hears of its head.
            self.seen = body.step(&self.kept)?;
        }
        self.head = head;
        Ok(())
    }

    /// A head goes on.
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

    /// What comes behind a body that is over, and has gone on.
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

/// Moves at most `most` bytes, as far as there is room; how many.
fn give(from: &mut BytesMut, most: usize, to: &mut ReadBuf<'_>) -> usize {
    let n = from.len().min(most).min(to.remaining());
    to.put_slice(&from[..n]);
    from.advance(n);
    n
}
