//! Serves one HTTP/2 connection of a client, from its preface to its close.

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

/// Bytes of one response that may be buffered before the socket takes them.
const SEND_BUFFER: usize = 64 * 1024;
/// How long to wait for a client to acknowledge the first GOAWAY.
const GOODBYE: Duration = Duration::from_secs(5);

/// A client's HTTP/2 connection, accepted and ready to be served.
#[derive(Debug)]
pub struct H2Connection {
    /// The bytes below: TCP or TLS, with frame accounting.
    pub transport: H2Transport,
    /// The client.
    pub client: Client,
    /// Entry in the list of connections that may be closed when the limit is reached; none for a connection over the limit.
    pub listed: Option<Listed>,
    /// The limits that apply for every HTTP version.
    pub limits: ConnectionLimits,
    /// Limits of HTTP/2.
    pub settings: Settings,
    /// The most requests that may be under way in the whole process.
    pub requests: u64,
}

impl H2Connection {
    /// Serves the connection until it closes. When `draining` completes the client gets a GOAWAY, and running requests may finish.
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
        // Whether the first GOAWAY was sent.
        let mut goodbye = false;
        // Whether the client must close because the connection limit is reached.
        let mut leaves = false;
        loop {
            if let Some(listed) = &listed {
                listed.set_idle(streams.is_empty());
            }
            tokio::select! {
                // Finished streams are removed before new ones are accepted.
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
                    // Fails if the client has not acknowledged the previous size; the next growth tries again.
                    _ = connection.set_initial_window_size(size);
                }
                came = connection.accept() => match came {
                    Some(Ok((request, mut respond))) => {
                        // h2 no longer counts a stream that it reset, but its request may still be running here.
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
                        // The client did not acknowledge the GOAWAY. Pending bytes are still sent, then the connection closes.
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

/// Completes when the connection is to close to make room for others.
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
