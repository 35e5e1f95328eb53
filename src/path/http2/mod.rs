//! HTTP/2 to clients (RFC 9113), over the `h2` library: [`wire`] below it, and for each stream a [`request`] and an
//! [`answer`].
//!
//! actix-http could speak it too, but sets no limit on streams, resets and header lists, lets a handler run on when its
//! client has left, and cannot say GOAWAY. So this stands in its place; the application behind is the same.

pub mod answer;
pub mod frame_budget;
pub mod frame_scan;
pub mod request;
pub mod settings;
pub mod wire;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use actix_http::{
    Method, Request, Response,
    body::{BoxBody, MessageBody},
};
use actix_service::Service;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use h2::{
    Reason, RecvStream,
    server::{Builder, SendResponse},
};

use self::{
    answer::{Ended, Pace},
    settings::Settings,
    wire::Wire,
};
use super::{client::Client, client_stream::Limits};
use crate::traffic::budget::Budget;

/// What one response may hold that the socket has not taken yet.
const SEND_BUFFER: usize = 64 * 1024;
/// How long a client may take to read an answer that came before it had sent all of its request.
const LINGER: Duration = Duration::from_secs(1);
/// How long a client may take to say that it has seen the GOAWAY.
const GOODBYE: Duration = Duration::from_secs(5);

/// A client's connection, ready to be served.
#[derive(Debug)]
pub struct Guest {
    /// Its bytes.
    pub wire: Wire,
    /// Who it is.
    pub client: Client,
    /// What it must keep to, as any client.
    pub limits: Limits,
    /// What it must keep to, for it speaks HTTP/2.
    pub settings: Settings,
    /// Requests that may be under way in the whole process.
    pub requests: u64,
}

impl Guest {
    /// Serves it to its end. When `draining` is ready it is told to come no more; what is under way may end.
    pub async fn serve<S, B>(self, service: &S, draining: impl Future<Output = ()>)
    where
        S: Service<Request>,
        S::Response: Into<Response<B>>,
        S::Error: Into<Response<BoxBody>>,
        B: MessageBody,
    {
        let Guest {
            wire,
            client,
            limits,
            settings,
            requests,
        } = self;
        let counters = &client.published().counters.clients;
        let pace = Pace {
            patience: limits.send,
            taken: wire.taken(),
        };
        let frames = wire.frames();
        let handshake = builder(&limits, &settings).handshake::<_, Bytes>(wire);
        let Ok(Ok(mut connection)) = tokio::time::timeout(limits.head, handshake).await else {
            counters.bad_heads.increment();
            return;
        };
        counters.http2.increment();
        let resets = f64::from(settings.max_resets);
        let resets = Budget::new(resets, resets / 10.0, Instant::now());
        let at_once = usize::try_from(settings.max_streams).unwrap_or(usize::MAX);
        let mut streams = FuturesUnordered::new();
        let mut idle = pin!(tokio::time::sleep(limits.head));
        let mut draining = pin!(draining);
        // Whether the client was told to come no more.
        let mut goodbye = false;
        // Whether it was told to leave.
        let mut flooded = false;
        loop {
            tokio::select! {
                came = connection.accept() => match came {
                    Some(Ok((request, mut respond))) => {
                        // The library forgets a stream that it had to reset; its request may still be under way.
                        if streams.len() >= at_once || counters.requests.get() >= requests {
                            counters.over_limit.increment();
                            respond.send_reset(Reason::REFUSED_STREAM);
                        } else if request::lacks_its_body(&request) {
                            counters.bad_heads.increment();
                            respond.send_reset(Reason::PROTOCOL_ERROR);
                        } else {
                            frames.asked();
                            streams.push(stream(request, respond, client.again(), service, &pace));
                        }
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a client's HTTP/2 connection broke");
                        return;
                    }
                    None => return,
                },
                Some(ended) = streams.next(), if !streams.is_empty() => {
                    match ended {
                        Ended::Stalled => counters.send_timeouts.increment(),
                        Ended::Reset if !resets.spend(Instant::now()) => {
                            counters.reset_floods.increment();
                            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        }
                        _ => {}
                    }
                    if streams.is_empty() {
                        let rest = if goodbye { GOODBYE } else { limits.idle };
                        idle.as_mut().reset(tokio::time::Instant::now() + rest);
                    }
                }
                () = frames.spent(), if !flooded => {
                    flooded = true;
                    counters.frame_floods.increment();
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                () = &mut draining, if !goodbye => {
                    goodbye = true;
                    connection.graceful_shutdown();
                    idle.as_mut().reset(tokio::time::Instant::now() + GOODBYE);
                }
                () = &mut idle, if streams.is_empty() => {
                    if goodbye {
                        return;
                    }
                    goodbye = true;
                    connection.graceful_shutdown();
                    idle.as_mut().reset(tokio::time::Instant::now() + GOODBYE);
                }
            }
        }
    }
}

fn builder(limits: &Limits, settings: &Settings) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .initial_window_size(settings.window_size())
        .initial_connection_window_size(settings.window_size())
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// One exchange. A client that gives it up ends the handler, and with it the exchange with the origin.
async fn stream<S, B>(
    came: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    client: Client,
    service: &S,
    pace: &Pace,
) -> Ended
where
    S: Service<Request>,
    S::Response: Into<Response<B>>,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody,
{
    let to_head = came.method() == Method::HEAD;
    let client = Rc::new(client);
    let (request, whole) = request::request(came, Rc::clone(&client));
    let answered = {
        let mut call = pin!(service.call(request));
        poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Pending => respond.poll_reset(cx).map(Err),
            answered => answered.map(Ok),
        })
        .await
    };
    let ended = match answered {
        Ok(Ok(response)) => {
            answer::send(response.into(), &mut respond, to_head, &client, pace).await
        }
        Ok(Err(error)) => answer::send(error.into(), &mut respond, to_head, &client, pace).await,
        Err(Ok(_)) => Ended::Reset,
        Err(Err(error)) => error.into(),
    };
    if ended == Ended::Whole && !whole.get() {
        // The client is not to send the rest, which RST_STREAM (NO_ERROR) says as `respond` is dropped. Some throw away an
        // answer that they have not read before it.
        tokio::time::sleep(LINGER).await;
    }
    ended
}
