//! Tracks what goes out over a connection beyond what h2 reports: which streams have sent their last byte, and interim responses
//! (RFC 9110 §15.2), which h2 cannot send.
//!
//! An interim response is a HEADERS frame built by the proxy. It is written between two frames of h2, and is encoded without the
//! HPACK dynamic table (RFC 7541 §6.2.2), so that h2's encoder and the client's decoder stay in step.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, BufMut as _, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::frame_scan::FrameScan;

/// The largest frame that every client must accept (RFC 9113 §4.2).
const MAX_FRAME: usize = 16_384;
/// The most bytes of interim responses that wait for the socket. They are only hints: more are dropped.
const MAX_WAITING: usize = 64 * 1024;

/// Outgoing state of one connection.
#[derive(Debug)]
pub struct Outgoing {
    state: RefCell<State>,
    hurries: Cell<bool>,
}

#[derive(Debug)]
struct State {
    scan: FrameScan,
    /// Interim responses that wait for a frame boundary.
    interim: BytesMut,
    /// Whether the client may be sent interim responses.
    takes_interim: bool,
    /// Streams whose last frame is not sent yet, and the task that waits for it.
    open: HashMap<u32, Option<Waker>>,
    /// The task that writes to the socket.
    writer: Option<Waker>,
}

/// One stream with a response under way, while this lives.
#[derive(Debug)]
pub struct Answering {
    out: Rc<Outgoing>,
    stream: u32,
    /// Whether the final response has begun.
    begun: Cell<bool>,
}

impl Default for Outgoing {
    fn default() -> Self {
        Outgoing {
            state: RefCell::new(State {
                scan: FrameScan::of_server(),
                interim: BytesMut::new(),
                takes_interim: true,
                open: HashMap::new(),
                writer: None,
            }),
            hurries: Cell::new(false),
        }
    }
}

impl Outgoing {
    /// Registers a stream that is to be answered.
    pub fn answering(self: &Rc<Self>, stream: u32) -> Answering {
        self.state.borrow_mut().open.insert(stream, None);
        Answering {
            out: Rc::clone(self),
            stream,
            begun: Cell::new(false),
        }
    }

    /// Stops interim responses, because the client wants a smaller HPACK table. h2 announces the change with its next response, and
    /// an interim response before that would be a decoding error (RFC 7541 §4.2).
    pub fn refuse_interim(&self) {
        self.state.borrow_mut().takes_interim = false;
    }

    /// Closes without waiting for the client, because it floods the connection.
    pub fn hurry(&self) {
        self.hurries.set(true);
    }

    /// Whether [`Outgoing::hurry`] was called.
    pub fn hurries(&self) -> bool {
        self.hurries.get()
    }

    /// Writes the waiting interim responses by `write` if this is a frame boundary. Ready when h2 may write, with the most bytes
    /// that it may write.
    pub fn poll_gap(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state.borrow_mut();
        if state
            .writer
            .as_ref()
            .is_none_or(|w| !w.will_wake(cx.waker()))
        {
            state.writer = Some(cx.waker().clone());
        }
        while !state.interim.is_empty() {
            let to_gap = state.scan.to_gap();
            if to_gap > 0 {
                return Poll::Ready(Ok(to_gap));
            }
            match std::task::ready!(write(cx, &state.interim))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => state.interim.advance(n),
            }
        }
        Poll::Ready(Ok(usize::MAX))
    }

    /// Tracks bytes that h2 wrote.
    pub fn wrote(&self, bytes: &[u8]) {
        let State { scan, open, .. } = &mut *self.state.borrow_mut();
        scan.step(bytes, |stream| {
            if let Some(Some(waiting)) = open.remove(&stream) {
                waiting.wake();
            }
        });
    }
}

impl Answering {
    /// Notes that the final response begins.
    pub fn begin(&self) {
        self.begun.set(true);
    }

    /// Queues an interim response (1xx, but not 101) with these fields, without hop-by-hop ones. Dropped if the final response has
    /// begun, the stream is over, or too many wait.
    pub fn send_interim<'a>(
        &self,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) {
        let mut state = self.out.state.borrow_mut();
        if self.begun.get() || !state.takes_interim || !state.open.contains_key(&self.stream) {
            return;
        }
        let Some(frame) = interim(self.stream, status, fields) else {
            return;
        };
        if state.interim.len() + frame.len() > MAX_WAITING {
            return;
        }
        state.interim.extend_from_slice(&frame);
        if let Some(writer) = &state.writer {
            writer.wake_by_ref();
        }
    }

    /// Ready when the stream's last frame is written.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.out.state.borrow_mut().open.get_mut(&self.stream) {
            None => Poll::Ready(()),
            Some(waiting) => {
                *waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.out.state.borrow_mut().open.remove(&self.stream);
    }
}

/// Fields that belong to HTTP/1.1 alone (RFC 9113 §8.2.2).
pub fn is_of_http1(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The HEADERS frame of an interim response. None if it would be too long, or the status is not an interim one.
fn interim<'a>(
    stream: u32,
    status: StatusCode,
    fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Option<BytesMut> {
    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let mut frame = BytesMut::from(&[0; 9][..]);
    // `:status` by its index in the static table (RFC 7541, appendix A), with a literal value.
    frame.put_u8(8);
    put_text(&mut frame, status.as_str().as_bytes());
    for (name, value) in fields {
        if !is_of_http1(name) {
            frame.put_u8(0);
            put_text(&mut frame, name.as_str().as_bytes());
            put_text(&mut frame, value.as_bytes());
        }
    }
    let length = frame.len() - 9;
    if length > MAX_FRAME {
        return None;
    }
    let length = u32::try_from(length).ok()?.to_be_bytes();
    frame[..3].copy_from_slice(&length[1..]);
    // HEADERS, END_HEADERS
    frame[3..5].copy_from_slice(&[1, 4]);
    frame[5..9].copy_from_slice(&stream.to_be_bytes());
    Some(frame)
}

/// Writes a string literal without Huffman coding, behind its length (RFC 7541 §5.2).
fn put_text(to: &mut BytesMut, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        to.put_u8(rest as u8);
    } else {
        to.put_u8(127);
        rest -= 127;
        while rest >= 128 {
            to.put_u8((rest & 127) as u8 | 128);
            rest >>= 7;
        }
        to.put_u8(rest as u8);
    }
    to.put_slice(text);
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::HeaderMap;

    use super::*;

    fn gap(out: &Outgoing, room: usize) -> (Vec<u8>, Poll<usize>) {
        let mut written = Vec::new();
        let polled = out.poll_gap(&mut Context::from_waker(Waker::noop()), |_, bytes| {
            if written.len() == room {
                return Poll::Pending;
            }
            let n = bytes.len().min(room - written.len());
            written.extend_from_slice(&bytes[..n]);
            Poll::Ready(Ok(n))
        });
        (written, polled.map(|most| most.unwrap()))
    }

    #[test]
    fn an_interim_response_waits_for_the_gap_between_two_frames() {
        let out = Rc::new(Outgoing::default());
        let stream = out.answering(5);
        // Half of a DATA frame with six bytes is written.
        out.wrote(&[0, 0, 6, 0, 0, 0, 0, 0, 3, 1, 2, 3]);
        stream.send_interim(StatusCode::CONTINUE, &HeaderMap::new());
        assert_eq!(gap(&out, 100), (vec![], Poll::Ready(3)));
        out.wrote(&[4, 5, 6]);
        // The socket takes it in two pieces; nothing else may be written between them.
        let (first, polled) = gap(&out, 4);
        assert_eq!(polled, Poll::Pending);
        let (second, polled) = gap(&out, 100);
        assert_eq!(polled, Poll::Ready(usize::MAX));
        let frame = [0, 0, 5, 1, 4, 0, 0, 0, 5, 8, 3, b'1', b'0', b'0'];
        assert_eq!([first, second].concat(), frame);
    }

    #[test]
    fn nothing_interim_goes_out_behind_the_end_or_with_a_small_table() {
        let out = Rc::new(Outgoing::default());
        let (one, other) = (out.answering(1), out.answering(3));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(one.poll_ended(&mut cx).is_pending());
        out.wrote(&[0, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert!(one.poll_ended(&mut cx).is_ready());
        one.send_interim(StatusCode::CONTINUE, &HeaderMap::new());
        out.refuse_interim();
        other.send_interim(StatusCode::CONTINUE, &HeaderMap::new());
        assert!(gap(&out, 100).0.is_empty());
    }

    #[test]
    fn fields_are_coded_as_they_are_and_those_of_http1_stay() {
        let mut fields = HeaderMap::new();
        fields.insert("link", "x".repeat(300).parse().unwrap());
        fields.insert("connection", "close".parse().unwrap());
        let frame = interim(1, StatusCode::from_u16(103).unwrap(), &fields).unwrap();
        assert_eq!(&frame[9..14], b"\x08\x03103");
        assert_eq!(&frame[14..20], b"\x00\x04link");
        // Integer encoding: 300 is 127, then 173: 45 with more to come, and 1 (RFC 7541 §5.1).
        assert_eq!(&frame[20..23], [127, 173, 1]);
        assert_eq!(frame.len(), 23 + 300);
        assert!(interim(1, StatusCode::OK, &fields).is_none());
        fields.insert("x", "x".repeat(20_000).parse().unwrap());
        assert!(interim(1, StatusCode::PROCESSING, &fields).is_none());
    }
}
