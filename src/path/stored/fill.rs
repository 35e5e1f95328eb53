//! Writes what the origin sends into an object. A fill belongs to the object and to no client: it runs as a task of its own.

use std::{future::poll_fn, rc::Rc, sync::Arc, time::Duration};

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
    store::{
        Store,
        object::{Fill, Object, Version},
    },
    traffic::{canary::split::Bucket, published::Published},
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
        let object = Arc::clone(fill.object());
        let Some(left) = fill.left() else {
            return;
        };
        let Some(extra) = rest(&object, &left) else {
            return;
        };
        let fetched = match fetcher.get(&extra, None).await {
            Ok((fetched, _)) => fetched,
            Err(error) => {
                store.counters.fill_failed();
                object.fill_failed();
                tracing::info!(%error, at_byte = left.start, "the rest of a stored body could not be had");
                return;
            }
        };
        match begins_at(&object, &fetched, left.start) {
            Some(skip) => {
                let body = OriginBody::One(fetched.source);
                run(&store, fill, body, skip, &fetcher.published, fetcher.bucket).await;
            }
            None if fetched.status.is_success() => {
                tracing::info!(
                    at_byte = left.start,
                    "what is stored has changed at the origin"
                );
                store.shelf.remove(&object);
                object.give_up();
                drop(fill);
            }
            None => {
                store.counters.fill_failed();
                object.fill_failed();
            }
        }
    });
}

/// Asks the origin for a part of an object for one reader alone, past the object. The body, and how many of its first bytes
/// come before the part; none where it cannot be had, or the origin has another version now.
pub async fn alone(
    object: Arc<Object>,
    part: std::ops::Range<u64>,
    fetcher: Rc<Fetcher>,
) -> Option<(OriginBody, u64)> {
    let extra = rest(&object, &part)?;
    match fetcher.get(&extra, None).await {
        Ok((fetched, _)) => {
            let skip = begins_at(&object, &fetched, part.start)?;
            Some((OriginBody::One(fetched.source), skip))
        }
        Err(error) => {
            tracing::info!(%error, at_byte = part.start, "the rest of a stored body could not be had");
            None
        }
    }
}

/// The fields that ask for a part of an object, and for nothing of another version; none if it has no strong validator.
fn rest(object: &Object, left: &std::ops::Range<u64>) -> Option<HeaderMap> {
    object.version.as_ref()?;
    let head = object.head();
    let validator = match crate::store::condition::strong_tag(&head.fields) {
        Some(tag) => HeaderValue::from_bytes(tag).ok()?,
        None => head.fields.get(header::LAST_MODIFIED)?.clone(),
    };
    let range = match left.end {
        u64::MAX => format!("bytes={}-", left.start),
        end => format!("bytes={}-{}", left.start, end - 1),
    };
    let mut fields = HeaderMap::new();
    fields.insert(header::RANGE, HeaderValue::from_str(&range).ok()?);
    fields.insert(header::IF_RANGE, validator);
    Some(fields)
}

/// How many bytes of the response come before `at`, if it is of the object's version and goes on from there.
fn begins_at(object: &Object, fetched: &Fetched, at: u64) -> Option<u64> {
    let (first, complete) = match fetched.status {
        StatusCode::PARTIAL_CONTENT => {
            let range = ContentRange::parse(fetched.headers.get(header::CONTENT_RANGE)?)?;
            (range.first, range.complete?)
        }
        StatusCode::OK => match fetched.framing {
            Framing::Length(length) => (0, length),
            _ => return None,
        },
        _ => return None,
    };
    let version = Version::of(&fetched.headers, complete)?;
    (object.version.as_ref() == Some(&version) && first <= at).then(|| at - first)
}

/// Writes a response's body into the object, but for its first `skip` bytes, which are there already.
pub async fn run(
    store: &Arc<Store>,
    fill: Fill,
    mut body: OriginBody,
    mut skip: u64,
    published: &Arc<Published>,
    bucket: Bucket,
) {
    let object = Arc::clone(fill.object());
    store.counters.fill_begins();
    let end = loop {
        if fill.left().is_none() {
            break End::Finished;
        }
        let piece = poll_fn(|cx| {
            let tuning = published.tuning_for(bucket).load();
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
                if is_to_stop(store, &object, &fill) {
                    break End::Stopped;
                }
            }
            Some(Err(error)) => {
                tracing::info!(%error, at_byte = fill.left().map(|left| left.start), "the fill of a stored body broke");
                break End::Failed;
            }
            None if object.length().is_none() => {
                fill.complete();
                object.bound_by_playlist();
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
    if end == End::Finished {
        object.bound_by_playlist();
    } else if !object.can_be_resumed() {
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
fn is_to_stop(store: &Store, object: &Object, fill: &Fill) -> bool {
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
        // What has no validator is worth nothing as a part.
        return !finishes || object.is_gone();
    };
    // Whoever reads on has the rest fetched when it gets there.
    object.can_be_resumed() && left.start.saturating_sub(readers.end) > store.ahead()
}
