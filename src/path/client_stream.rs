//! A client's HTTP/1.1 connection, with its limits: slow or endless heads, bytes that are not HTTP, a client that stops reading, a
//! connection over the limit. Each gets an error response where one can still be sent.
//!
//! actix-http limits only the first head and no write, and reads a request before the previous one is answered. So this stream
//! stands between it and the socket, and passes one request at a time to it ([`RequestReader`]).

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_http::header::HeaderValue;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    answer_head::{self, AnswerHead},
    between_requests::{BetweenRequests, Due},
    client::Client,
    connection_limits::ConnectionLimits,
    connection_permit::ConnectionPermit,
    idle::Listed,
    line::ClientLine,
    refusal::{LINGER, Refusal, Refusing, poll_discard},
    rendered::repeater::Repeater,
    request_reader::RequestReader,
    send_watch::SendWatch,
    served::Served,
    tcp,
    transport::Transport,
};

/// Bytes that are read ahead from a client while its request is answered; more stays in the socket's buffer.
const AHEAD: usize = 64 * 1024;

/// A client's connection.
pub struct ClientStream {
    io: Transport,
    client: Rc<Client>,
    _permit: ConnectionPermit,
    limits: ConnectionLimits,
    quickack: bool,
    phase: Phase,
    reader: RequestReader,
    /// The number of requests that had reached a handler when the last head was passed on.
    begun_before: u64,
    /// Whether part of the response is written.
    begun_answer: bool,
    /// Whether the connection closes after the current response.
    closes: bool,
    /// Whether nothing follows the current request yet, and the read task is registered to be woken when something does.
    awaits_socket: bool,
    /// Deadlines between two requests.
    between: BetweenRequests,
    line: ClientLine,
    send: SendWatch,
    /// Answers repeated identical requests without actix-http.
    repeater: Repeater,
}

enum Phase {
    Open,
    /// An error response of the stream's own is being sent.
    Refusing(Refusing),
    /// No request is under way, and actix-http is to give the connection back.
    Returned,
    Ended,
}

impl ClientStream {
    /// For a connection just accepted. One over the limit is refused.
    pub fn new(
        io: Transport,
        client: Rc<Client>,
        permit: ConnectionPermit,
        listed: Option<Listed>,
        limits: ConnectionLimits,
        line: ClientLine,
        served: Served,
    ) -> Self {
        let too_many = permit.over;
        let mut stream = ClientStream {
            io,
            client,
            _permit: permit,
            limits,
            quickack: served.quickack,
            phase: Phase::Open,
            reader: RequestReader::new(limits.max_head),
            begun_before: 0,
            begun_answer: false,
            closes: false,
            awaits_socket: false,
            between: BetweenRequests::new(listed, limits.head, served.leaving),
            line,
            send: SendWatch::new(limits.send),
            repeater: Repeater::new(served.worker),
        };
        if too_many {
            stream.refuse(Refusal::TooMany);
        }
        stream
    }

    /// The state shared with this connection's handlers.
    pub fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// Lends the connection to actix-http (see [`super::lent_stream`]).
    pub(super) fn lend(&mut self) {
        self.between.lent = true;
    }

    /// The connection, if actix-http gave it back before it ended; otherwise the connection has ended, too.
    pub fn taken_back(mut self: Box<Self>) -> Option<Box<Self>> {
        let is_returned = matches!(self.phase, Phase::Returned);
        (self.phase, self.between.lent) = (Phase::Open, false);
        is_returned.then_some(self)
    }

    /// Whether a request is in a handler, or its response is not yet sent completely.
    fn is_engaged(&self) -> bool {
        self.client.engaged.get() > 0
    }

    /// Sends an error response and closes the connection.
    fn refuse(&mut self, refusal: Refusal) {
        // A request in a handler writes its own access line.
        let log = self.limits.log && !self.is_engaged();
        refusal.account(&self.client.published, self.client.peer.ip(), log);
        if !self.is_engaged() {
            let counters = &self.client.published.clients;
            counters.responded(refusal.status().as_u16());
        }
        self.phase = Phase::Refusing(Refusing::answering(refusal));
    }

    /// Refuses bytes that are not valid HTTP: the connection ends, after an error response if no other response has begun.
    ///
    /// # Errors
    ///
    /// If part of another response is written: the connection fails, and with it the handler that waits for the body.
    fn refuse_what_came(&mut self, refusal: Refusal) -> io::Result<()> {
        let of_answered = matches!(refusal, Refusal::Body(_)) && !self.reader.is_unanswered();
        if self.is_engaged() {
            self.client.refused.set(Some(refusal));
        }
        if !of_answered && !self.begun_answer {
            self.refuse(refusal);
            return Ok(());
        }
        refusal.account(&self.client.published, self.client.peer.ip(), false);
        if !of_answered && self.is_engaged() && !self.client.body_refused.get() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, refusal));
        }
        // The body is no longer needed: the response is finished, and nothing more is accepted.
        self.reader.lose();
        Ok(())
    }

    fn poll_refusing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Phase::Refusing(refusing) = &mut self.phase {
            ready!(refusing.poll(cx, &mut self.io));
            self.phase = Phase::Ended;
        }
        Poll::Ready(())
    }

    /// Reads the bytes of the current request that may be passed on.
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.client.switched.get() && !self.reader.is_raw() {
            self.reader.switch();
        }
        ready!(self.poll_rendered(cx))?;
        loop {
            let requests = self.reader.requests();
            let mut looked = self.reader.release(buf);
            if looked.is_ok() && buf.filled().len() == before {
                if self.reader.is_lost() && !self.reader.is_unanswered() {
                    // The last response is sent; discard whatever else the client sends.
                    self.phase = Phase::Refusing(Refusing::silently());
                    return Poll::Pending;
                }
                if self.reader.waits() {
                    return self.poll_behind(cx);
                }
                ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
                if buf.filled().len() == before {
                    // A client that left must not keep its transfer running. actix-http could do this itself, but would then also
                    // abort a valid request that is followed by garbage.
                    return Poll::Ready(match self.is_engaged() && !self.reader.is_raw() {
                        true => Err(io::ErrorKind::ConnectionAborted.into()),
                        false => Ok(()),
                    });
                }
                let is_between = self.reader.is_clean() && !self.is_engaged() && !self.closes;
                if is_between && self.repeater.begin(&self.client, &buf.filled()[before..]) {
                    self.reader.passed_by();
                    self.between.stop();
                    buf.set_filled(before);
                    ready!(self.poll_rendered(cx))?;
                    continue;
                }
                if self.quickack && self.is_engaged() {
                    // During an upload no response carries the acknowledgements, and the sender needs them at once.
                    tcp::rearm_quickack(self.io.tcp());
                }
                let is_alone = self.reader.is_clean();
                let came = buf.filled().len() - before;
                looked = self.reader.accept(buf, before);
                let head = &buf.filled()[before..];
                if is_alone && head.len() == came && self.reader.waits() && looked.is_ok() {
                    self.repeater.note_asked(&self.client, head);
                }
            }
            if let Err(refusal) = looked {
                buf.set_filled(before);
                self.refuse_what_came(refusal)?;
                if matches!(self.phase, Phase::Open) {
                    continue;
                }
                return Poll::Pending;
            }
            if self.reader.requests() != requests {
                self.begin();
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Writes the rest of a rendered response. Ready when there is none.
    fn poll_rendered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.repeater.is_answering() {
            return Poll::Ready(Ok(()));
        }
        let (some, written) = self.repeater.poll_write(cx, &mut self.io);
        if some {
            self.send.took();
            self.look_at_line();
        }
        let written = match written {
            Poll::Pending => ready!(self.poll_blocked(cx).map(Err)),
            Poll::Ready(written) => written,
        };
        self.send.took();
        self.repeater.end(written.is_ok());
        Poll::Ready(written)
    }

    /// Measures the quality of the client's TCP connection.
    fn look_at_line(&mut self) {
        let class = self.line.look(&mut self.io, self.client.follows_lines());
        self.client.class.set(class);
    }

    /// A new request head is passed on: resets the state of the previous request.
    fn begin(&mut self) {
        self.client.repeatable.take();
        self.between.stop();
        self.awaits_socket = false;
        self.begun_before = self.client.begun.get();
        self.client.body_refused.set(false);
        let offers = self.reader.offers_websocket();
        self.client.offers_websocket.set(offers);
        let other = self.reader.takes_other();
        let other = other.and_then(|other| HeaderValue::from_maybe_shared(other).ok());
        self.client.other_offer.replace(other);
    }

    /// While a request is answered: buffers what the client sends ahead, and detects that it has left.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.awaits_socket = false;
        while self.reader.waiting() < AHEAD {
            let read = if self.reader.is_lost() {
                poll_discard(cx, &mut self.io)
            } else {
                let mut scratch = [MaybeUninit::uninit(); 4096];
                let mut piece = ReadBuf::uninit(&mut scratch);
                let read = Pin::new(&mut self.io).poll_read(cx, &mut piece);
                self.reader.keep(piece.filled());
                read.map_ok(|()| piece.filled().len())
            };
            let Poll::Ready(n) = read? else {
                self.awaits_socket = true;
                return Poll::Pending;
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
        }
        Poll::Pending
    }

    /// When the response is complete, lets the next head pass.
    fn answered(&mut self, cx: &Context<'_>) {
        let done = self.reader.is_unanswered()
            && self.begun_answer
            && !self.is_engaged()
            && self.client.begun.get() != self.begun_before;
        if !done || self.reader.is_raw() {
            return;
        }
        self.begun_answer = false;
        self.reader.answer();
        if self.closes {
            self.reader.lose();
        }
        if self.closes || !self.awaits_socket || self.reader.waiting() > 0 {
            // actix-http reads the next request only when it is woken.
            cx.waker().wake_by_ref();
        }
    }

    /// Closes a connection whose next head is late or incomplete for too long.
    fn poll_due(&mut self, cx: &mut Context<'_>) {
        // There is no limit for a whole response: only a client whose socket is blocked is disconnected.
        let is_answered = !self.is_engaged() && !self.reader.is_unanswered();
        let is_idle = is_answered && !self.reader.is_raw();
        if !is_idle {
            return self.between.set_busy();
        }
        // actix-http forgets the idle time where half a head came with the previous request.
        let lingers = self.client.body_refused.get() && !self.reader.is_between_bodies();
        let idle = if lingers { LINGER } else { self.limits.idle };
        match self.between.poll(cx, &self.reader, idle, self.closes) {
            Poll::Pending => {}
            Poll::Ready(Due::Return) => self.phase = Phase::Returned,
            Poll::Ready(Due::Close) => self.phase = Phase::Ended,
            Poll::Ready(Due::SlowHead) => self.refuse(Refusal::SlowHead),
        }
    }

    /// Writes interim responses, unless a response is half written. Ready when there are none left.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.client.writing.get() {
            return Poll::Ready(Ok(()));
        }
        let mut interim = self.client.interim_heads.take();
        let written = interim.poll_write(cx, &mut self.io);
        self.client.interim_heads.replace(interim);
        match written {
            Poll::Pending => self.poll_blocked(cx).map(Err),
            written => written,
        }
    }

    /// Ready, with an error, when the client has read nothing for too long.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.client.poll_ahead(cx);
        let error = ready!(self.send.poll(cx, self.io.tcp()));
        let counters = &self.client.published.clients;
        counters.send_timeouts.increment();
        self.client.end_with_reset(true);
        Poll::Ready(error)
    }

    /// Reads what actix-http may see of the requests.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if matches!(self.phase, Phase::Open) {
            let before = buf.filled().len();
            let read = self.poll_request(cx, buf);
            if matches!(self.phase, Phase::Open) {
                self.poll_due(cx);
            }
            if matches!(self.phase, Phase::Open) {
                return read;
            }
            buf.set_filled(before);
        }
        ready!(self.poll_refusing(cx));
        Poll::Ready(match self.is_engaged() {
            // The request's body was refused after its head had passed: the error ends it.
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            // End of file, once the response is sent.
            false => Ok(()),
        })
    }

    /// Writes bytes of a response.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.phase {
            Phase::Open => {}
            // The stream's error response replaces what actix-http wrote. actix-http drops the connection once its own bytes are
            // flushed, so they are held back until the error response is sent.
            Phase::Refusing(_) => return self.poll_refusing(cx).map(|()| Ok(bytes.len())),
            Phase::Returned | Phase::Ended => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        ready!(self.poll_rendered(cx))?;
        if self.reader.is_unanswered()
            && !self.is_engaged()
            && self.client.begun.get() == self.begun_before
            && let Some(refusal) = answer_head::refusal(bytes)
        {
            self.refuse(refusal);
            return self.poll_refusing(cx).map(|()| Ok(bytes.len()));
        }
        if self.client.switched.get() && !self.reader.is_raw() {
            // A request that waited behind this one can be passed on now.
            cx.waker().wake_by_ref();
        }
        ready!(self.poll_interim(cx))?;
        self.client.writing.set(true);
        match Pin::new(&mut self.io).poll_write(cx, bytes) {
            Poll::Pending => {
                self.client.blocked.set(true);
                self.poll_blocked(cx).map(Err)
            }
            written => {
                self.send.took();
                self.client.unblock(cx);
                if !self.begun_answer
                    && let AnswerHead::Answer { closes } = AnswerHead::of(bytes)
                {
                    (self.begun_answer, self.closes) = (true, closes);
                    self.repeater.note_answer(&self.client, bytes);
                }
                self.look_at_line();
                written
            }
        }
    }

    /// Flushes what is written; a complete response is noticed here.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rendered(cx))?;
        if matches!(self.phase, Phase::Open) {
            self.answered(cx);
            // Everything is flushed: the time to the next request begins.
            self.poll_due(cx);
            if !matches!(self.phase, Phase::Open) {
                // actix-http learns of it when it reads.
                cx.waker().wake_by_ref();
            }
        }
        // actix-http flushes after it has written a complete response.
        self.client.writing.set(false);
        if matches!(self.phase, Phase::Open) {
            ready!(self.poll_interim(cx))?;
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            // TLS buffers what the socket does not take.
            Poll::Pending => self.poll_blocked(cx).map(Err),
            flushed => {
                self.send.took();
                if self.client.tunnel_ended.get() {
                    if self.client.reset.get() {
                        // actix-http drops the stream on an error, and the client is reset.
                        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    // actix-http would wait until the client closes too.
                    ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                }
                flushed
            }
        }
    }

    /// Ends the connection, unless actix-http only gives it back.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.phase, Phase::Returned) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_refusing(cx));
        ready!(self.poll_rendered(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if self.client.reset.get() {
            // Linger zero: the kernel sends a reset instead of an orderly end.
            _ = SockRef::from(self.io.tcp()).set_linger(Some(Duration::ZERO));
        }
    }
}
