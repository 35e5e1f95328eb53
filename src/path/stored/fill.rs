//! Writes what the origin sends into an object. A fill belongs to the object and to no client: it runs as a task of its own.

use std::{future::poll_fn, ops::Range, rc::Rc, sync::Arc, time::Duration};

use actix_http::{
    StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use bytes::Bytes;

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

/// Wait before the second attempt at the same bytes; doubled each time.
const BACKOFF: Duration = Duration::from_millis(100);

/// How often a fill without room looks whether there is some, where no reader goes on.
const ROOM: Duration = Duration::from_millis(50);

/// How a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It brought all of its part.
    Finished,
    /// It was stopped: nobody reads what is left, or who does is far behind.
    Stopped,
    /// The body broke.
    Failed,
}

/// Fetches what `fill` is for, behind whoever needs it. `before`: so many attempts at it failed.
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

/// Asks the origin for what `fill` is for. Whether it comes: then it is written behind.
pub async fn begin(store: &Arc<Store>, fill: Fill, fetcher: &Rc<Fetcher>) -> bool {
    let object = Arc::clone(fill.object());
    let Some(left) = fill.left() else {
        return false;
    };
    let Some((body, skip)) = part(store, &object, &left, fetcher).await else {
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

/// Asks the origin for a part of an object. The body, and how many of its first bytes come before the part; none where it cannot
/// be had, or the origin has another version now: then the object is given up. An origin that gives no parts of it is asked for all
/// of it, once for each object.
pub async fn part(
    store: &Store,
    object: &Arc<Object>,
    part: &Range<u64>,
    fetcher: &Rc<Fetcher>,
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

/// Whether a refusal may be none next time.
fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// The fields that ask for a part of an object, and for nothing of another version; none if it has no strong validator.
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

/// Where a response begins, as a part of an object.
enum Begins {
    /// At this byte: it goes on from there to the end of what was asked for.
    At(u64),
    /// It is of another version.
    OtherVersion,
    /// It is no part of it: refused, or not what was asked for.
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
        // Another version is answered whole to If-Range (RFC 9110 §13.1.5): this is no such answer.
        false if fetched.status == StatusCode::PARTIAL_CONTENT => Begins::Nowhere,
        false => Begins::OtherVersion,
    }
}

/// Writes a response's body into the object, but for its first `skip` bytes, which are there already.
pub async fn run(
    store: &Arc<Store>,
    fill: Fill,
    mut body: OriginBody,
    mut skip: u64,
    fetcher: &Fetcher,
) {
    let origin = fetcher.origin.state();
    let object = Arc::clone(fill.object());
    store.counters.fill_begins();
    let end = loop {
        if fill.left().is_none() {
            break End::Finished;
        }
        let piece = poll_fn(|cx| {
            let tuning = origin.tuning_for(fetcher.bucket).load();
            body.poll_piece(cx, &tuning)
        });
        match piece.await {
            Some(Ok(mut piece)) => {
                let over = skip.min(piece.len() as u64);
                skip -= over;
                _ = piece.split_to(over as usize);
                if !piece.is_empty() {
                    store.counters.filled(piece.len());
                    write(store, &object, &fill, piece).await;
                }
                if is_to_stop(store, &object, &fill, origin) {
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
            // Its framing ended before the part did.
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
        // Before whoever reads it hears of the break, and asks again.
        store.shelf.remove(&object);
        object.give_up();
    }
    drop(fill);
}

/// Writes one piece, once there is room for it. Where nothing else can go, the object is kept no more, and what all of its
/// readers have behind them goes; then what the slowest of them have not read: those go on by requests of their own.
async fn write(store: &Store, object: &Arc<Object>, fill: &Fill, piece: Bytes) {
    while !store.shelf.write(fill, piece.clone()) {
        store.shelf.remove(object);
        if object.trim() > 0 {
            continue;
        }
        if object.readers().is_none() {
            return;
        }
        let at = fill.left().map_or(u64::MAX, |left| left.start);
        if object.can_be_resumed() && object.leave_behind(at) > 0 {
            continue;
        }
        // Either will do: room may come from elsewhere.
        _ = tokio::time::timeout(ROOM, object.read_on()).await;
    }
}

/// Whether a fill is to end before its part does: its connection is worth more than bytes that nobody waits for.
fn is_to_stop(store: &Store, object: &Object, fill: &Fill, origin: &OriginState) -> bool {
    let Some(left) = fill.left() else {
        return false;
    };
    let Some(readers) = object.readers() else {
        let most = store.settings.finish_bytes.as_u64();
        let finishes = match object.length() {
            Some(length) => {
                let rest = length.min(left.end).saturating_sub(left.start);
                rest <= most || rest <= length / 2
            }
            // How much is left nobody knows.
            None => left.start <= most,
        };
        // Others wait for the exchange that it takes. What has no validator is worth nothing as a part.
        let others_wait = origin.counters.waiting.get() > 0;
        return !finishes || others_wait && object.can_be_resumed() || object.is_gone();
    };
    // Whoever reads on has the rest fetched when it gets there.
    object.can_be_resumed() && left.start.saturating_sub(readers.end) > store.ahead()
}
