//! Writes the origin's response into an object. A fill belongs to the object, not to a client: it runs as a separate task.

use std::{future::poll_fn, ops::Range, rc::Rc, sync::Arc, time::Duration};

use actix_http::{
    StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use bytes::Bytes;
use tokio::time::timeout;

use super::fetcher::Fetcher;
use crate::{
    path::{
        framing::Framing,
        origin::{Fetched, body::OriginBody},
        range::ContentRange,
    },
    store::{Store, object::Object, object_fill::Fill},
    traffic::origin::OriginState,
};

/// Delay before the second attempt at the same bytes; doubled each time.
const BACKOFF: Duration = Duration::from_millis(100);

/// How often a fill without space checks for some, if no reader advances.
const ROOM: Duration = Duration::from_millis(50);

/// How long a fill that is too far ahead waits for a reader that is about to catch up.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It brought its whole range.
    Finished,
    /// It was stopped: no reader needs the rest, or only readers that are far behind.
    Stopped,
    /// The body failed.
    Failed,
}

/// Fetches the range of `fill` in the background. `before` counts failed attempts at it, and delays this one.
pub fn fetch(store: &Arc<Store>, fill: Fill, fetcher: &Rc<Fetcher>, before: u64) {
    let (store, fetcher) = (Arc::clone(store), Rc::clone(fetcher));
    actix_rt::spawn(async move {
        if before > 0 {
            tokio::time::sleep(BACKOFF * 2_u32.saturating_pow(before as u32 - 1)).await;
        }
        if before > 0 && !fetcher.origin.spend() {
            let counters = &fetcher.origin.state().counters;
            counters.resumes_denied.increment();
            fill.object().fill_failed();
            tracing::warn!("a stored body is not gone on with: too many bodies were already");
            return;
        }
        begin(&store, fill, &fetcher).await;
    });
}

/// Requests the range of `fill` from the origin. Returns whether it is coming: it is then written by a separate task.
pub async fn begin(store: &Arc<Store>, fill: Fill, fetcher: &Rc<Fetcher>) -> bool {
    let object = Arc::clone(fill.object());
    let Some(left) = fill.left() else {
        return false;
    };
    let Some((body, skip)) = part(store, &object, &left, fetcher, Need::Only).await else {
        store.counters.fill_failed();
        object.fill_failed();
        return false;
    };
    fill.confirm();
    let (store, fetcher) = (Arc::clone(store), Rc::clone(fetcher));
    actix_rt::spawn(async move {
        run(&store, fill, body, skip, &fetcher).await;
    });
    true
}

/// Why a range is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing else brings it.
    Only,
    /// A fill brings it, too, but later.
    Sooner,
}

/// Requests a range of an object from the origin. Returns the body, and how many of its first bytes lie before the range; none if
/// it cannot be fetched, or if the origin has another version: then the object is given up. An origin without range support is
/// asked for the whole, once for each object. Where a fill brings the range too ([`Need::Sooner`]), nothing but all of the range is taken,
/// and the object stays.
pub async fn part(
    store: &Store,
    object: &Arc<Object>,
    part: &Range<u64>,
    fetcher: &Rc<Fetcher>,
    need: Need,
) -> Option<(OriginBody, u64)> {
    let mut asked = rest(object, part);
    while let Some(fields) = asked.take() {
        let fetched = match fetcher.get(&fields, None).await {
            Ok((fetched, _)) => fetched,
            Err(error) => {
                tracing::info!(%error, at_byte = part.start, "the rest of a stored body could not be had");
                return None;
            }
        };
        let most = fetcher.origin.transfers().resume_reread.as_u64();
        match begins_at(object, &fetched, part.start) {
            begins if need == Need::Sooner => {
                let end = object.length().unwrap_or(part.end).min(part.end);
                let is_all = matches!(begins, Begins::At(first) if first == part.start)
                    && matches!(fetched.framing, Framing::Length(length) if part.start + length == end);
                return is_all.then_some((OriginBody::One(fetched.source), 0));
            }
            Begins::At(first)
                if part.start - first <= most || fields.is_empty() || object.may_be_had_whole() =>
            {
                let skip = part.start - first;
                let counters = &fetcher.origin.state().counters;
                counters.reread_bytes.add(skip);
                return Some((OriginBody::One(fetched.source), skip));
            }
            Begins::Nowhere if !is_passing(fetched.status) && object.may_be_had_whole() => {
                asked = Some(HeaderMap::new());
            }
            Begins::Nowhere => return None,
            Begins::At(_) | Begins::OtherVersion => {
                tracing::info!(
                    at_byte = part.start,
                    "the origin has another version of what is stored, or gives no part of it"
                );
                store.shelf.remove(object);
                object.give_up();
                return None;
            }
        }
    }
    None
}

/// Whether a refusal may be temporary.
fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// The fields that request a range of this version of an object; none without a strong validator.
fn rest(object: &Object, left: &Range<u64>) -> Option<HeaderMap> {
    let validator = object.version.as_ref()?.validator.value().clone();
    let range = match left.end {
        u64::MAX => format!("bytes={}-", left.start),
        end => format!("bytes={}-{}", left.start, end - 1),
    };
    let mut fields = HeaderMap::new();
    fields.insert(header::RANGE, HeaderValue::from_str(&range).ok()?);
    fields.insert(header::IF_RANGE, validator);
    Some(fields)
}

/// Where a response begins relative to an object.
enum Begins {
    /// At this position; it continues to the end of the requested range.
    At(u64),
    /// It is another version.
    OtherVersion,
    /// It cannot be used: a refusal, or another range.
    Nowhere,
}

fn begins_at(object: &Object, fetched: &Fetched, at: u64) -> Begins {
    let (first, complete) = match (fetched.status, fetched.framing) {
        (StatusCode::PARTIAL_CONTENT, framing) => {
            let range = fetched.headers.get(header::CONTENT_RANGE);
            let Some(range) = range.and_then(ContentRange::parse) else {
                return Begins::Nowhere;
            };
            let contradicts = match framing {
                Framing::Length(length) => length != range.last + 1 - range.first,
                _ => false,
            };
            if contradicts || range.first != at {
                return Begins::Nowhere;
            }
            (range.first, range.complete)
        }
        (StatusCode::OK, Framing::Length(length)) => (0, Some(length)),
        (status, _) if status.is_success() => return Begins::OtherVersion,
        _ => return Begins::Nowhere,
    };
    let version = object.version.as_ref().zip(complete);
    match version.is_some_and(|(version, complete)| version.names(&fetched.headers, complete)) {
        true => Begins::At(first),
        // If-Range is answered with a complete 200 if the version changed (RFC 9110 §13.1.5), never with a 206.
        false if fetched.status == StatusCode::PARTIAL_CONTENT => Begins::Nowhere,
        false => Begins::OtherVersion,
    }
}

/// Writes a response's body into the object; the first `skip` bytes are skipped, because they are stored already. Bytes of a version
/// are written as they arrive; without one, in order, so that a failure leaves no gap between them.
pub async fn run(
    store: &Arc<Store>,
    fill: Fill,
    mut body: OriginBody,
    skip: u64,
    fetcher: &Fetcher,
) {
    let origin = fetcher.origin.state();
    let object = Arc::clone(fill.object());
    store.counters.fill_begins();
    let begin = fill.left().map_or(0, |left| left.start);
    let mut next = begin - skip;
    let end = loop {
        let Some(left) = fill.left() else {
            break End::Finished;
        };
        let limit = (object.can_be_resumed()).then(|| limit(store, &object, &left));
        let piece = poll_fn(|cx| {
            let tuning = origin.tuning_for(fetcher.bucket).load();
            body.poll_placed(cx, &tuning, next, limit)
        });
        match piece.await {
            Some(Ok((at, mut piece))) => {
                next = at + piece.len() as u64;
                let over = begin.saturating_sub(at).min(piece.len() as u64);
                _ = piece.split_to(over as usize);
                if !piece.is_empty() {
                    store.counters.filled(piece.len());
                    write(store, &object, &fill, at + over, &piece).await;
                }
                if is_to_stop(store, &object, &fill, origin).await {
                    break End::Stopped;
                }
            }
            Some(Err(error)) => {
                tracing::info!(%error, at_byte = fill.left().map(|left| left.start), "the fill of a stored body broke");
                break End::Failed;
            }
            None if object.length().is_none() => {
                fill.complete();
                store.counters.fill_ends(true, false);
                return;
            }
            // The framing ended before the range did.
            None => break End::Failed,
        }
    };
    store
        .counters
        .fill_ends(end == End::Finished, end == End::Failed);
    if end == End::Failed {
        object.fill_failed();
    }
    if end != End::Finished && !object.can_be_resumed() {
        // Removed before readers learn of the failure and request it again.
        store.shelf.remove(&object);
        object.give_up();
    }
    drop(fill);
}

/// The position before which other connections may fetch parts: as far ahead of the fastest reader as a fill may be, and of the first
/// byte that is missing, so that what comes early does not displace too much.
fn limit(store: &Store, object: &Object, left: &Range<u64>) -> u64 {
    let fastest = object.readers().map_or(left.start, |readers| readers.end);
    let limit = fastest.min(left.start) + store.ahead() + 1;
    limit.min(left.end)
}

/// Writes one piece at `at` once there is space. If nothing else can be evicted, the object is no longer kept: what all its readers
/// have passed is dropped, then what the slowest have not read; those continue by their own requests. What came early is let go rather
/// than waited with: the connections must bring what readers wait for.
async fn write(store: &Store, object: &Arc<Object>, fill: &Fill, at: u64, piece: &Bytes) {
    while !store.shelf.write(fill, at, piece) {
        store.shelf.remove(object);
        if object.trim() > 0 {
            continue;
        }
        let next = fill.left().map_or(u64::MAX, |left| left.start);
        if object.can_be_resumed() && object.leave_behind(next) > 0 {
            continue;
        }
        if object.readers().is_none() || next < at {
            fill.pass(at..at + piece.len() as u64);
            return;
        }
        // Either is fine: space may become free elsewhere.
        _ = timeout(ROOM, object.read_on()).await;
    }
}

/// Whether to stop a fill early: its connection is worth more than bytes that nobody waits for.
async fn is_to_stop(store: &Store, object: &Object, fill: &Fill, origin: &OriginState) -> bool {
    let Some(left) = fill.left() else {
        return false;
    };
    if object.readers().is_none() {
        let most = store.settings.finish_bytes.as_u64();
        let finishes = match object.length() {
            Some(length) => {
                let rest = length.min(left.end).saturating_sub(left.start);
                rest <= most || rest <= length / 2
            }
            // How much is left is unknown.
            None => left.start <= most,
        };
        // Other requests wait for its exchange slot. Without a validator a partial object is worth nothing.
        let others_wait = origin.counters.waiting.get() > 0;
        return !finishes || others_wait && object.can_be_resumed() || object.is_gone();
    }
    if !object.can_be_resumed() {
        return false;
    }
    let is_far_ahead = object
        .readers()
        .is_some_and(|readers| left.start.saturating_sub(readers.end) > store.ahead());
    // A reader that gets there has the rest fetched. If much came early, it had no time to read it yet.
    let half = left.start.saturating_sub(store.ahead() / 2);
    is_far_ahead && timeout(CATCH_UP, object.read_to(half)).await.is_err()
}
