//! Hands the bytes of an object to one client, as they come, and has what is missing fetched.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{fetcher::Fetcher, fill};
use crate::{
    path::origin::reader::BodyError,
    store::{
        Store,
        body::Found,
        object::{Object, Reader},
    },
};

/// So many fills may fail in a row before the body is broken.
const ATTEMPTS: u64 = 6;

/// A part of an object on its way to one client.
pub struct StoredReader {
    store: Arc<Store>,
    reader: Reader,
    /// The byte behind the last that is wanted; none: all of it.
    end: Option<u64>,
    fetcher: Rc<Fetcher>,
    /// Its next bytes, on their way from disk.
    loading: Option<LocalBoxFuture<'static, Option<Bytes>>>,
    done: bool,
}

impl StoredReader {
    /// The bytes of `object` from `begin` on. What is missing is asked for by `fetcher`.
    pub fn new(
        store: Arc<Store>,
        object: &Arc<Object>,
        begin: u64,
        end: Option<u64>,
        fetcher: Rc<Fetcher>,
    ) -> Self {
        StoredReader {
            store,
            reader: object.reader(begin),
            end,
            fetcher,
            loading: None,
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
            if let Some(loading) = &mut self.loading {
                let loaded = ready!(loading.poll_unpin(cx));
                self.loading = None;
                if let Some(piece) = loaded {
                    return Poll::Ready(Some(Ok(self.took(piece))));
                }
            }
            match self.reader.look(cx) {
                Found::Piece(piece) => return Poll::Ready(Some(Ok(self.took(piece)))),
                Found::Stored(_) => {
                    let load = self.store.shelf.load(self.reader.object(), at);
                    self.loading = Some(load.boxed_local());
                }
                Found::Wait => return Poll::Pending,
                Found::End => {
                    self.done = true;
                    return Poll::Ready(None);
                }
                Found::Broken => return Poll::Ready(Some(Err(BodyError::Cut))),
                Found::Missing(gap) => {
                    let object = self.reader.object();
                    let failed = object.failed_fills();
                    if failed >= ATTEMPTS || !object.can_be_resumed() {
                        return Poll::Ready(Some(Err(BodyError::NoRest)));
                    }
                    let end = self.end.map_or(gap.end, |end| end.min(gap.end));
                    // Where somebody else was faster, its fill is waited for.
                    if let Some(fill) = object.fill(at..end) {
                        fill::fetch(&self.store, fill, &self.fetcher, failed);
                    }
                }
            }
        }
    }

    /// Goes on behind a piece; as much of it as is wanted.
    fn took(&mut self, mut piece: Bytes) -> Bytes {
        if let Some(end) = self.end {
            let wanted = end - self.reader.at();
            piece.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        }
        self.reader.take(piece.len() as u64);
        self.store.counters.served(piece.len());
        piece
    }

    /// All of it in one piece, if it is here as one.
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

    /// Whether no more is to come.
    pub fn is_done(&self) -> bool {
        self.done || self.end.is_some_and(|end| self.reader.at() >= end)
    }
}
