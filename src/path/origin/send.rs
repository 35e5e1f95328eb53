//! Sends one request and receives its response head. The request's body is sent meanwhile.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use awc::FrozenClientRequest;

use super::{
    exchange::{Answered, CURRENT, Exchange},
    fetch_error::FetchError,
    sending::{SendError, Sending},
};
use crate::path::{
    framing::{Framing, Head},
    upload::Upload,
};

/// Sends the request and waits for the response head until `deadline`; progress of an upload extends it. A response that comes
/// before the whole upload is sent is returned at once, and the rest is sent meanwhile.
pub(super) async fn send(
    head: &FrozenClientRequest,
    exchange: Exchange,
    mut upload: Option<Upload>,
    exchange_timeout: Duration,
    deadline: Instant,
) -> Result<Answered, FetchError> {
    let progress = upload.as_ref().map(Upload::progress);
    // awc is not told of a body: the fields declare it, and it is sent below.
    let request = CURRENT.sync_scope(exchange.clone(), || {
        head.send_body(actix_http::body::None::new())
    });
    let mut sending = None;
    let mut refused = false;
    let mut written = None;
    let mut request = pin!(request);
    let mut awaited = true;
    let mut timer = pin!(tokio::time::sleep_until(deadline.into()));
    poll_fn(|cx| {
        if awaited {
            match request.as_mut().poll(cx) {
                Poll::Ready(Ok(_)) => awaited = false,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(exchange
                        .take_failure()
                        .map_or_else(|| FetchError::Client(error.to_string()), FetchError::from)));
                }
                Poll::Pending => {}
            }
        }
        if let Some(writer) = upload.as_ref().and_then(|_| exchange.writer())
            && let Some(upload) = upload.take()
        {
            sending = Some(Sending::new(upload, writer));
        }
        let sent = sending.as_mut().map(|sending: &mut Sending| {
            let sent = sending.poll(cx);
            written = Some(sending.written());
            sent
        });
        match sent {
            Some(Poll::Ready(Err(SendError::Upload))) => {
                return Poll::Ready(Err(FetchError::Upload));
            }
            Some(Poll::Ready(sent)) => {
                // The origin's reason may already have been received.
                refused = sent.is_err();
                sending = None;
            }
            Some(Poll::Pending) | None => {}
        }
        if !awaited
            && (sending.is_none() || exchange.head().is_none_or(|head| !waits_for_the_rest(head)))
        {
            return Poll::Ready(Ok(()));
        }
        while timer.as_mut().poll(cx).is_ready() {
            let moved = progress
                .as_ref()
                .map(|p| p.last() + exchange_timeout)
                .filter(|&at| at > Instant::now());
            match moved {
                Some(at) => timer.as_mut().reset(at.into()),
                None => return Poll::Ready(Err(FetchError::Timeout(exchange_timeout))),
            }
        }
        Poll::Pending
    })
    .await?;
    let mut answered = exchange
        .into_answered()
        .ok_or_else(|| FetchError::Client("the response head is gone".to_owned()))?;
    // The connection cannot be reused, because the origin still expects the rest of the request.
    answered.head.keep_alive &= !refused;
    // The origin's response time starts when it had the whole request; an earlier response took no time.
    answered.sent = written.unwrap_or(answered.sent).max(answered.sent);
    if let Some(sending) = sending {
        answered.connection.upload = Some(sending.go_on(is_well(answered.head)));
    }
    Ok(answered)
}

/// Whether the upload continues to its end although the response is here.
fn is_well(head: Head) -> bool {
    head.status < 300 && head.keep_alive
}

/// Whether the response waits until the upload is complete: a success without a body ends the exchange.
fn waits_for_the_rest(head: Head) -> bool {
    is_well(head) && matches!(head.framing, Framing::None | Framing::Length(0))
}
