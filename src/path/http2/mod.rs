//! HTTP/2 to clients (RFC 9113), over the `h2` library: [`wire`] below it, and for each stream a [`request`], the
//! [`intake`] of its body, and an [`answer`].
//!
//! actix-http could speak it too, but sets no limit on streams, resets and header lists, lets a handler run on when its
//! client has left, and cannot say GOAWAY. So this stands in its place; the application behind is the same.

pub mod answer;
pub mod frame_budget;
pub mod frame_scan;
pub mod intake;
pub mod linger;
pub mod outgoing;
pub mod request;
pub mod settings;
pub mod window;
pub mod wire;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
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
    intake::Intake,
    outgoing::Answering,
    request::Body,
    settings::Settings,
    window::UploadWindow,
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
        let (frames, out) = (wire.frames(), wire.out());
        let window = Rc::new(UploadWindow::new(
            settings.window_size(),
            settings.windows.as_u64(),
            Arc::clone(client.published()),
        ));
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
        let mut leaves = false;
        loop {
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
                            streams.push(stream(
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

fn builder(limits: &Limits, settings: &Settings) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .initial_window_size(window::FIRST)
        .initial_connection_window_size(window::FIRST * window::BODIES)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// One exchange. A client that gives it up ends the handler, and with it the exchange with the origin. It is over when
/// its last byte has left for the socket.
async fn stream<S, B>(
    came: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    mut client: Client,
    service: &S,
    pace: &Pace,
    (answering, window): (Rc<Answering>, Rc<UploadWindow>),
) -> Ended
where
    S: Service<Request>,
    S::Response: Into<Response<B>>,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody,
{
    let to_head = came.method() == Method::HEAD;
    let (told, expects) = (Body::of(&came), request::expects_100(&came));
    let (parts, body) = came.into_parts();
    let intake =
        (!body.is_end_stream()).then(|| Intake::new(body, expects, window, Rc::clone(&answering)));
    if told == Body::Empty
        && let Some(intake) = &intake
    {
        // Nobody is asked before it is known whether that is true.
        let empty = poll_fn(|cx| intake.poll_empty(cx));
        if !matches!(tokio::time::timeout(pace.patience, empty).await, Ok(true)) {
            let given_up = poll_fn(|cx| Poll::Ready(respond.poll_reset(cx).is_ready())).await;
            if given_up {
                return Ended::Reset;
            }
            client.published().counters.clients.bad_heads.increment();
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return Ended::Broken;
        }
    }
    client.interim = Some(Rc::clone(&answering));
    let client = Rc::new(client);
    let request = request::request(parts, intake.as_ref(), Rc::clone(&client));
    let fill = |cx: &mut Context<'_>| {
        if let Some(intake) = &intake {
            intake.fill(cx);
        }
    };
    let answered = {
        let mut call = pin!(service.call(request));
        poll_fn(|cx| {
            fill(cx);
            match call.as_mut().poll(cx) {
                Poll::Pending => respond.poll_reset(cx).map(Err),
                answered => answered.map(Ok),
            }
        })
        .await
    };
    answering.begin();
    let ended = {
        let mut sent = pin!(async {
            match answered {
                Ok(Ok(response)) => {
                    answer::send(response.into(), &mut respond, to_head, &client, pace).await
                }
                Ok(Err(error)) => {
                    answer::send(error.into(), &mut respond, to_head, &client, pace).await
                }
                Err(Ok(_)) => Ended::Reset,
                Err(Err(error)) => error.into(),
            }
        });
        poll_fn(|cx| {
            fill(cx);
            sent.as_mut().poll(cx)
        })
        .await
    };
    if ended == Ended::Whole {
        // The library has it all. The connection is not idle before the client was sent it, or gave it up.
        poll_fn(|cx| match answering.poll_ended(cx) {
            Poll::Pending => respond.poll_reset(cx).map(|_| ()),
            ended => ended,
        })
        .await;
        if intake.is_some_and(|intake| !intake.is_whole()) {
            // The client is not to send the rest, which RST_STREAM (NO_ERROR) says as `respond` is dropped. Some throw
            // away an answer that they have not read before it.
            tokio::time::sleep(LINGER).await;
        }
    }
    ended
}
