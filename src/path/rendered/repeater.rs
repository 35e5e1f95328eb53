//! Answers repeated requests of one connection from rendered responses, without actix-http.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::Bytes;
use tokio::io::AsyncWrite as _;

use super::{answer::RenderedAnswer, head::RenderedHead, response::RenderedResponse, table};
use crate::{
    path::{client::Client, context::new_id, meter::Meter, transport::Transport, worker::Worker},
    store::{body::BLOCK, counters::Kind},
};

/// The current request of one connection, and its rendered response if it has one.
pub struct Repeater {
    /// The worker that answers requests; none on the operators' own address, where nothing is repeated.
    worker: Option<Rc<Worker>>,
    /// The current request head, if it arrived alone and in one piece.
    asked: Option<Box<[u8]>>,
    /// A rendered response that is being sent; actix-http does not know of its request.
    answer: Option<RenderedAnswer>,
}

impl Repeater {
    /// Before the first request.
    pub fn new(worker: Option<Rc<Worker>>) -> Self {
        Repeater {
            worker,
            asked: None,
            answer: None,
        }
    }

    /// Whether a rendered response is being sent.
    pub fn is_answering(&self) -> bool {
        self.answer.is_some()
    }

    /// Remembers a request head, so that its response can be found by it later.
    pub fn note_asked(&mut self, client: &Client, head: &[u8]) {
        let may_repeat = head.starts_with(b"GET ") || head.starts_with(b"HEAD ");
        let stores = self
            .worker
            .as_ref()
            .is_some_and(|worker| worker.stores(client));
        if may_repeat && stores && head.len() <= table::LONGEST {
            self.asked = Some(head.into());
        }
    }

    /// Remembers the response that actix-http begins to write, if the handler allows it to be repeated.
    pub fn note_answer(&mut self, client: &Client, written: &[u8]) {
        let (repeatable, asked) = (client.repeatable.take(), self.asked.take());
        let (Some(worker), Some(repeatable), Some(head)) = (&self.worker, repeatable, asked) else {
            return;
        };
        let (hit, asked) = *repeatable;
        let Some(rendered) = RenderedHead::of(written, asked.id.is_none()) else {
            return;
        };
        let cost = RenderedResponse::cost(&rendered, head.len());
        let Some(room) = worker.store.shelf.room(cost) else {
            return;
        };
        let response = RenderedResponse::new(hit, asked, client.secure, rendered, room);
        worker.rendered().1.insert(head, Rc::new(response));
    }

    /// Starts the rendered response to a request with these bytes, if there is one that is still valid. Nothing else may be under
    /// way on the connection.
    pub fn begin(&mut self, client: &Rc<Client>, came: &[u8]) -> bool {
        let Some(worker) = &self.worker else {
            return false;
        };
        if !worker.stores(client) || worker.published.is_draining() {
            return false;
        }
        let mut rendered = worker.rendered();
        let (policy, table) = &mut *rendered;
        let Some(response) = table.get(came) else {
            return false;
        };
        if response.secure != client.secure {
            return false;
        }
        let Some(found) = response.find(SystemTime::now()) else {
            table.remove(came);
            return false;
        };
        let length = found.body.iter().map(Bytes::len).sum();
        // Up to one block is not counted, as any slow client holds as much.
        let held = match length as u64 <= BLOCK {
            true => None,
            false => match worker.store.hold(length as u64) {
                None => return false,
                held => held,
            },
        };
        let asked = &response.asked;
        let id = asked.id.clone().unwrap_or_else(new_id);
        let address = client.peer.ip().to_canonical();
        let mut meter = Meter::start(
            worker.reporter.clone(),
            client.engage(),
            asked.origin,
            asked.keys.of_client(address),
            worker.published.split.membership(client.bucket),
            &id,
        );
        if policy.access_log {
            meter.log(&id, &asked.method, &asked.path, address, None);
        }
        meter.answered(found.status, None);
        let head = response.head(&found, &id);
        found.object.hit();
        worker.store.count(Kind::Fresh);
        worker.store.counters.repeated();
        worker.store.counters.served(length);
        self.answer = Some(RenderedAnswer::new(head, found.body, held, meter));
        true
    }

    /// Writes the rest of the response as far as the socket accepts it. Returns whether it took some; ready when all is written.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Transport,
    ) -> (bool, Poll<io::Result<()>>) {
        let mut some = false;
        let written = self.poll_all(cx, io, &mut some);
        (some, written)
    }

    fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Transport,
        some: &mut bool,
    ) -> Poll<io::Result<()>> {
        while let Some(answer) = self.answer.as_mut().filter(|answer| !answer.is_written()) {
            let io = Pin::new(&mut *io);
            match ready!(answer.write(|slices| io.poll_write_vectored(cx, slices)))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => answer.advance(n),
            }
            *some = true;
        }
        // TLS buffers what the socket does not take.
        Pin::new(io).poll_flush(cx)
    }

    /// The response is written, or its client has left.
    pub fn end(&mut self, is_out: bool) {
        if let Some(answer) = self.answer.take()
            && is_out
        {
            answer.complete();
        }
    }
}
