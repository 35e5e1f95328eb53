//! One request through awc, up to its response head.

use std::{
    cell::Cell,
    future::{Future as _, poll_fn},
    io,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use actix_http::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use awc::{FrozenClientRequest, error::SendRequestError};

use super::{
    exchange::{CURRENT, Exchange, HeadError},
    fetch::FetchError,
};
use crate::path::upload::{Progress, Upload};

/// How long a refused upload's answer is waited for, once the origin stopped reading.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Sends the request and waits for the head, until `deadline`; an upload that moves moves the deadline with it.
pub(super) async fn send(
    head: &FrozenClientRequest,
    exchange: &Exchange,
    upload: Option<Upload>,
    exchange_timeout: Duration,
    deadline: Instant,
) -> Result<(StatusCode, HeaderMap), FetchError> {
    let progress = upload.as_ref().map(Upload::progress);
    let request = match upload {
        Some(upload) => head.send_body(upload),
        // Not send(): it would tell a length of zero for every GET.
        None => head.send_body(actix_http::body::None::new()),
    };
    let early = Cell::new(false);
    let mut sending = pin!(CURRENT.scope(exchange.clone(), request));
    let mut timer = pin!(tokio::time::sleep_until(deadline.into()));
    let sent = poll_fn(|cx| {
        if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
            return Poll::Ready(Ok(sent));
        }
        // awc does not read while it sends: a refusal that comes before the upload is through is seen here.
        if progress.as_ref().is_some_and(Progress::under_way)
            && let Poll::Ready(head) = exchange.poll_head(cx)
            && head.as_ref().map_or(true, |head| head.status >= 300)
        {
            early.set(true);
            return Poll::Ready(Ok(Err(SendRequestError::Send(
                io::ErrorKind::BrokenPipe.into(),
            ))));
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
    let error = match sent {
        Ok(response) => {
            let status = response.status();
            let mut headers = HeaderMap::new();
            // The only way to the fields that does not copy them.
            response.map_body(|head, payload| {
                std::mem::swap(&mut headers, head.headers_mut());
                payload
            });
            return Ok((status, headers));
        }
        Err(error) => error,
    };
    if let Some(progress) = progress {
        if progress.failed() {
            return Err(FetchError::Upload);
        }
        // The origin stopped reading: its answer may already be here.
        let words = poll_fn(|cx| exchange.poll_head(cx));
        if early.get()
            || tokio::time::timeout(LAST_WORDS, words)
                .await
                .is_ok_and(|head| head.is_ok())
        {
            progress.abandon();
            exchange.spoil();
            if let Some(answer) = exchange.parse() {
                return Ok(answer);
            }
        }
    }
    Err(match exchange.take_failure() {
        Some(failure) => failure.into(),
        None => match error {
            SendRequestError::Send(error) => HeadError::Broken(error).into(),
            SendRequestError::Connect(_) => HeadError::Broken(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the origin closed it",
            ))
            .into(),
            error => FetchError::Client(error.to_string()),
        },
    })
}

impl Exchange {
    /// Status and fields of the head, where awc does not get to read it.
    fn parse(&self) -> Option<(StatusCode, HeaderMap)> {
        let bytes = self.head_bytes()?;
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(&bytes).ok()?;
        let mut headers = HeaderMap::new();
        for field in response.headers.iter() {
            headers.append(
                HeaderName::from_bytes(field.name.as_bytes()).ok()?,
                HeaderValue::from_bytes(field.value).ok()?,
            );
        }
        Some((StatusCode::from_u16(response.code?).ok()?, headers))
    }
}
