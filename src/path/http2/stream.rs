//! Serves one HTTP/2 stream: a request and its response.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{
    Method, Request, Response,
    body::{BoxBody, MessageBody},
};
use actix_service::Service;
use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};

use super::{
    answer::{self, Ended, Pace},
    intake::Intake,
    outgoing::Answering,
    request::{self, Body},
    window::UploadWindow,
};
use crate::path::client::Client;

/// How long a client may take to read a response that came before it had sent its whole request.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one stream until the last byte of its response was written to the socket. If the client resets it, the handler is
/// dropped, and with it the exchange with the origin.
pub(super) async fn serve<S, B>(
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
        // No handler is called before this is known.
        let empty = poll_fn(|cx| intake.poll_empty(cx));
        if !matches!(tokio::time::timeout(pace.patience, empty).await, Ok(true)) {
            let given_up = poll_fn(|cx| Poll::Ready(respond.poll_reset(cx).is_ready())).await;
            if given_up {
                return Ended::Reset;
            }
            client.published().clients.bad_heads.increment();
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
        // h2 has the whole response. The connection does not count as idle before it was sent or cancelled.
        poll_fn(|cx| match answering.poll_ended(cx) {
            Poll::Pending => respond.poll_reset(cx).map(|_| ()),
            ended => ended,
        })
        .await;
        if intake.is_some_and(|intake| !intake.is_whole()) {
            // The client need not send the rest: dropping `respond` sends RST_STREAM (NO_ERROR). Some clients discard a response
            // that they have not read before it.
            tokio::time::sleep(LINGER).await;
        }
    }
    ended
}
