//! Delivers the bytes of an object to one client as they arrive, and has missing ones fetched.

use std::{
    ops::Range,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{
    fetcher::Fetcher,
    fill::{self, Need},
};
use crate::{
    path::origin::{body::OriginBody, body_error::BodyError},
    store::{
        Store, body::Found, contents::EXTENT, object::Object, object_fill::Fill,
        object_reader::Reader,
    },
};

/// After this many failed fills in a row the body fails.
const ATTEMPTS: u64 = 3;

/// A reader whose next byte a fill may bring only after more than this many others asks for it by itself, too, as through a plain
/// proxy. Two seconds on a line of 1 Mbit/s.
const FAR: u64 = 256 * 1024;

/// How often a reader may find bytes missing within [`EXTENT`] of the previous place before it makes a request of its own: then
/// what is fetched for it is evicted before it gets there.
const MISSES: u32 = 3;

/// A range of an object on its way to one client.
pub struct StoredReader {
    store: Arc<Store>,
    reader: Reader,
    /// Position behind the last wanted byte; none: up to the end.
    end: Option<u64>,
    fetcher: Rc<Fetcher>,
    /// The next bytes, being read from disk.
    loading: Option<LocalBoxFuture<'static, Option<Bytes>>>,
    /// Where bytes were last missing, how far what was fetched for that reaches, and how often it was so within a short distance.
    missed: (u64, u64, u32),
    /// The reader's own request, which continues the body independently of the object.
    own: Option<Own>,
    /// A request of its own whose head is awaited although a fill brings the bytes later. If the origin refuses it, or the fill is
    /// faster, the fill is read.
    sooner: Option<Asked>,
    /// Whether it made one: it makes no second one.
    asked_sooner: bool,
    done: bool,
}

/// A request for the rest of a range: its body, and the number of bytes to skip in it; none if it cannot be had.
type Asked = LocalBoxFuture<'static, Option<(OriginBody, u64)>>;

/// A reader's own request.
enum Own {
    /// Its head is awaited.
    Asked(Asked),
    /// Its body, the number of bytes to skip in it, and where it began.
    Comes(Box<OriginBody>, u64, u64),
}

impl StoredReader {
    /// The bytes of `object` from `begin` on. Missing ones are requested by `fetcher`.
    pub fn new(
        store: Arc<Store>,
        object: &Arc<Object>,
        begin: u64,
        end: Option<u64>,
        fetcher: Rc<Fetcher>,
    ) -> Self {
        StoredReader {
            store,
            reader: Reader::of(object, begin),
            end,
            fetcher,
            loading: None,
            missed: (0, 0, 0),
            own: None,
            sooner: None,
            asked_sooner: false,
            done: false,
        }
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let at = self.reader.at();
        if self.done || self.end.is_some_and(|end| at >= end) {
            self.done = true;
            return Poll::Ready(None);
        }
        loop {
            if self.own.is_some() {
                return self.poll_own(cx);
            }
            if let Some(loading) = &mut self.loading {
                let loaded = ready!(loading.poll_unpin(cx));
                self.loading = None;
                if let Some(piece) = loaded {
                    return Poll::Ready(Some(Ok(self.took(piece))));
                }
            }
            match self.reader.look(cx) {
                Found::Piece(piece) => {
                    self.sooner = None;
                    return Poll::Ready(Some(Ok(self.took(piece))));
                }
                Found::Stored(_) => {
                    let load = self.store.shelf.load(self.reader.object(), at);
                    self.loading = Some(load.boxed_local());
                }
                Found::Wait(before) => {
                    let is_far = before > FAR && self.reader.object().can_be_resumed();
                    if is_far && !self.asked_sooner {
                        self.asked_sooner = true;
                        self.sooner = Some(self.ask(Need::Sooner));
                    }
                    let Some(sooner) = &mut self.sooner else {
                        return Poll::Pending;
                    };
                    let got = ready!(sooner.poll_unpin(cx));
                    self.sooner = None;
                    let Some((body, skip)) = got else {
                        return Poll::Pending;
                    };
                    self.go_alone(Own::Comes(Box::new(body), skip, at));
                }
                Found::End => {
                    self.done = true;
                    return Poll::Ready(None);
                }
                Found::Broken => return Poll::Ready(Some(Err(BodyError::Cut))),
                Found::Missing(gap) => {
                    self.sooner = None;
                    let object = self.reader.object();
                    let failed = object.failed_fills();
                    if failed >= ATTEMPTS || !object.can_be_resumed() {
                        return Poll::Ready(Some(Err(BodyError::NoRest)));
                    }
                    if self.is_left_behind(&gap) {
                        let ask = self.ask(Need::Only);
                        self.go_alone(Own::Asked(ask));
                        continue;
                    }
                    let object = self.reader.object();
                    let end = self.end.map_or(gap.end, |end| end.min(gap.end));
                    // If another reader was faster, its fill is awaited.
                    if let Some(fill) = Fill::of(object, at..end) {
                        fill::fetch(&self.store, fill, &self.fetcher, failed);
                    }
                }
            }
        }
    }

    /// Whether a reader that finds `gap` at its position continues with its own request: the object is no longer kept, or what is
    /// fetched for it is evicted before it gets there. A gap that nothing was fetched for yet says nothing of that.
    fn is_left_behind(&mut self, gap: &Range<u64>) -> bool {
        let (before, reach, times) = self.missed;
        let again = gap.start < before.saturating_add(EXTENT) && gap.start < reach;
        self.missed = match again {
            true => (gap.start, reach.max(gap.end), times + 1),
            false => (gap.start, gap.end, 1),
        };
        self.reader.object().is_gone() || self.missed.2 > MISSES
    }

    /// From now on its own request continues the body, independently of the object.
    fn go_alone(&mut self, own: Own) {
        self.own = Some(own);
        self.reader.leave();
        self.store.counters.left_behind();
    }

    /// Requests the remaining range from the origin.
    fn ask(&self, need: Need) -> Asked {
        let part = self.reader.at()..self.end.unwrap_or(u64::MAX);
        let object = Arc::clone(self.reader.object());
        let (store, fetcher) = (Arc::clone(&self.store), Rc::clone(&self.fetcher));
        let ask = async move { fill::part(&store, &object, &part, &fetcher, need).await };
        ask.boxed_local()
    }

    /// The next piece of its own request. If the response ends early but brought something, the rest is requested.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let tuning = self.fetcher.origin.state().tuning_for(self.fetcher.bucket);
        let tuning = tuning.load_full();
        loop {
            let broke = match &mut self.own {
                None => None,
                Some(Own::Asked(ask)) => match ready!(ask.poll_unpin(cx)) {
                    None => return Poll::Ready(Some(Err(BodyError::NoRest))),
                    Some((body, skip)) => {
                        let from = self.reader.at();
                        self.own = Some(Own::Comes(Box::new(body), skip, from));
                        continue;
                    }
                },
                Some(Own::Comes(body, skip, _)) => match ready!(body.poll_piece(cx, &tuning)) {
                    Some(Ok(mut piece)) => {
                        let over = (*skip).min(piece.len() as u64);
                        *skip -= over;
                        _ = piece.split_to(over as usize);
                        if piece.is_empty() {
                            continue;
                        }
                        self.cut(&mut piece);
                        return Poll::Ready(Some(Ok(piece)));
                    }
                    Some(Err(error)) => Some(error),
                    None => None,
                },
            };
            // A resumable object has a known length, and the response ended before it.
            let (at, end) = (self.reader.at(), self.end.or(self.reader.object().length()));
            if end == Some(at) {
                self.done = true;
                return Poll::Ready(None);
            }
            match self.own {
                Some(Own::Comes(_, _, from)) if at > from && self.fetcher.origin.spend() => {
                    self.own = Some(Own::Asked(self.ask(Need::Only)));
                }
                _ => {
                    self.done = true;
                    return Poll::Ready(Some(Err(broke.unwrap_or(BodyError::Cut))));
                }
            }
        }
    }

    /// Its own connection to the origin, if it has one. Called while the client's socket is blocked: a request for bytes that a fill
    /// brings anyway is given up then, because it would hold an exchange slot for a client that reads nothing.
    pub fn own(&mut self) -> Option<&mut OriginBody> {
        self.sooner = None;
        match &mut self.own {
            Some(Own::Comes(body, ..)) => Some(body),
            _ => None,
        }
    }

    /// Advances behind a piece; returns the wanted part of it.
    fn took(&mut self, mut piece: Bytes) -> Bytes {
        self.cut(&mut piece);
        self.store.counters.served(piece.len());
        piece
    }

    /// Cuts a piece to what is wanted, and advances behind it.
    fn cut(&mut self, piece: &mut Bytes) {
        if let Some(end) = self.end {
            let wanted = end - self.reader.at();
            piece.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        }
        self.reader.take(piece.len() as u64);
    }

    /// The whole rest in one piece, if it is available as one.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        let (at, object) = (self.reader.at(), self.reader.object());
        let whole = object.whole().filter(|_| at == 0 && !self.done)?;
        let whole = match self.end {
            Some(end) if end < whole.len() as u64 => return None,
            _ => whole,
        };
        self.store.counters.served(whole.len());
        self.done = true;
        Some(whole)
    }

    /// Whether the end was reached.
    pub fn is_done(&self) -> bool {
        self.done || self.end.is_some_and(|end| self.reader.at() >= end)
    }
}
