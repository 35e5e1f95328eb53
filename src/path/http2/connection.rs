//! One HTTP/2 connection of a client, from its handshake to its end.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use actix_http::{
    Request, Response,
    body::{BoxBody, MessageBody},
};
use actix_service::Service;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use h2::{Reason, server::Builder};

use super::{
    answer::{Ended, Pace},
    request::Body,
    settings::Settings,
    stream::serve,
    transport::H2Transport,
    window::{self, UploadWindow},
};
use crate::{
    path::{client::Client, connection_limits::ConnectionLimits, idle::Listed},
    traffic::token_bucket::TokenBucket,
};

/// What one response may hold that the socket has not taken yet.
const SEND_BUFFER: usize = 64 * 1024;
/// How long a client may take to say that it has seen the GOAWAY.
const GOODBYE: Duration = Duration::from_secs(5);

/// A client's HTTP/2 connection, accepted and ready to be served.
#[derive(Debug)]
pub struct H2Connection {
    /// The socket below it, with TLS and what is counted there.
    pub transport: H2Transport,
    /// The client.
    pub client: Client,
    /// Its place among those that make room for others; none for one too many.
    pub listed: Option<Listed>,
    /// Limits that a client must keep over any version of HTTP.
    pub limits: ConnectionLimits,
    /// Limits of HTTP/2.
    pub settings: Settings,
    /// Requests that may be under way in the whole process.
    pub requests: u64,
}

impl H2Connection {
    /// Serves it to its end. When `draining` is ready it is told to come no more; what is under way may end.
    pub async fn serve<S, B>(self, service: &S, draining: impl Future<Output = ()>)
    where
        S: Service<Request>,
        S::Response: Into<Response<B>>,
        S::Error: Into<Response<BoxBody>>,
        B: MessageBody,
    {
        let H2Connection {
            transport,
            client,
            listed,
            limits,
            settings,
            requests,
        } = self;
        let counters = &client.published().clients;
        let pace = Pace {
            patience: limits.send,
            taken: transport.taken(),
        };
        let (frames, out) = (transport.frames(), transport.out());
        let window = Rc::new(UploadWindow::new(
            settings.window_size(),
            settings.windows.as_u64(),
            Arc::clone(client.published()),
        ));
        let handshake = builder(&limits, &settings).handshake::<_, Bytes>(transport);
        let Ok(Ok(mut connection)) = tokio::time::timeout(limits.head, handshake).await else {
            counters.bad_heads.increment();
            return;
        };
        counters.http2.increment();
        let resets = f64::from(settings.max_resets);
        let resets = TokenBucket::new(resets, resets / 10.0, Instant::now());
        let at_once = usize::try_from(settings.max_streams).unwrap_or(usize::MAX);
        let mut streams = FuturesUnordered::new();
        let mut idle = pin!(tokio::time::sleep(limits.head));
        let mut draining = pin!(draining);
        // Whether the client was told to come no more.
        let mut goodbye = false;
        // Whether it was told to leave.
        let mut leaves = false;
        loop {
            if let Some(listed) = &listed {
                listed.set_idle(streams.is_empty());
            }
            tokio::select! {
                // A stream that is over makes room before the next one is looked at.
                biased;
                Some(ended) = streams.next(), if !streams.is_empty() => {
                    match ended {
                        Ended::Stalled => counters.send_timeouts.increment(),
                        Ended::Reset if !resets.spend(Instant::now()) => {
                            leaves = true;
                            out.hurry();
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
                size = window.grown() => {
                    connection.set_target_window_size(size * window::BODIES);
                    // Refused while the client has not heard of the size before: the next time says it then.
                    _ = connection.set_initial_window_size(size);
                }
                came = connection.accept() => match came {
                    Some(Ok((request, mut respond))) => {
                        // The library forgets a stream that it had to reset; its request may still be under way.
                        if streams.len() >= at_once || counters.requests.get() >= requests {
                            counters.over_limit.increment();
                            respond.send_reset(Reason::REFUSED_STREAM);
                        } else if Body::of(&request) == Body::Malformed {
                            counters.bad_heads.increment();
                            respond.send_reset(Reason::PROTOCOL_ERROR);
                        } else {
                            frames.asked();
                            let answering = out.answering(respond.stream_id().as_u32());
                            streams.push(serve(
                                request,
                                respond,
                                client.again(),
                                service,
                                &pace,
                                (Rc::new(answering), Rc::clone(&window)),
                            ));
                        }
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a client's HTTP/2 connection broke");
                        return;
                    }
                    None => return,
                },
                () = frames.spent(), if !leaves => {
                    leaves = true;
                    out.hurry();
                    counters.frame_floods.increment();
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                () = asked_to_leave(listed.as_ref()), if streams.is_empty() && !leaves => {
                    leaves = true;
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                }
                () = &mut draining, if !goodbye && !leaves => {
                    goodbye = true;
                    connection.graceful_shutdown();
                    idle.as_mut().reset(tokio::time::Instant::now() + GOODBYE);
                }
                () = &mut idle, if streams.is_empty() && !leaves => {
                    if goodbye {
                        // It does not say that it heard it. What is out goes on to it, and then the connection closes.
                        leaves = true;
                        connection.abrupt_shutdown(Reason::NO_ERROR);
                        continue;
                    }
                    goodbye = true;
                    connection.graceful_shutdown();
                    idle.as_mut().reset(tokio::time::Instant::now() + GOODBYE);
                }
            }
        }
    }
}

/// Ready once the connection is to make room for others.
async fn asked_to_leave(listed: Option<&Listed>) {
    let Some(listed) = listed else {
        return pending().await;
    };
    poll_fn(|cx| match listed.is_asked(cx.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

fn builder(limits: &ConnectionLimits, settings: &Settings) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .initial_window_size(window::FIRST)
        .initial_connection_window_size(window::FIRST * window::BODIES)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}
