//! The corpus' clients over HTTP/2, by the library: many streams on few connections.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::{Builder, SendRequest};

use super::{
    answer::{Answer, End},
    asking::{Asked, Framed, Kind, UPLOAD},
    behaviour::Row,
    plain::upload,
};
use crate::support::{DEADLINE, certificate::Certificate, secure::h2_with};

/// Bytes after which a client leaves.
const ENOUGH: usize = 20_000;

/// Bytes that a slow reader reads at a time.
const SIP: usize = 8 * 1024;

/// A connection to one proxy, opened anew where it was closed, with room enough that no stream waits for another.
pub struct Link<'a> {
    address: SocketAddr,
    trusted: &'a Certificate,
    kept: Option<SendRequest<Bytes>>,
}

impl<'a> Link<'a> {
    pub fn to(address: SocketAddr, trusted: &'a Certificate) -> Self {
        Link {
            address,
            trusted,
            kept: None,
        }
    }

    pub async fn open(&mut self) -> SendRequest<Bytes> {
        // One that nobody used for a while is closed by the proxy.
        if let Some(kept) = self.kept.take()
            && let Ok(open) = kept.ready().await
        {
            self.kept = Some(open.clone());
            return open;
        }
        let mut builder = Builder::new();
        builder.initial_connection_window_size(64 << 20);
        let open = h2_with(self.address, self.trusted, &builder).await;
        self.kept = Some(open.clone());
        open
    }
}

/// How a body is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Steady,
    Slow,
    Leave,
}

async fn ask(send: SendRequest<Bytes>, asked: Asked, manner: Manner) -> Answer {
    let all = one(send, asked, manner);
    let patience = tokio::time::timeout(DEADLINE, all);
    patience.await.unwrap_or(Answer::none(End::Hung))
}

async fn one(send: SendRequest<Bytes>, asked: Asked, manner: Manner) -> Answer {
    let Ok(mut send) = send.ready().await else {
        return Answer::none(End::Broken);
    };
    let uri = format!("https://proxy{}", asked.path);
    let mut request = http::Request::builder().method(asked.method).uri(uri);
    for (name, value) in &asked.fields {
        request = request.header(*name, value);
    }
    if asked.upload == Some(Framed::Length) {
        request = request.header("content-length", UPLOAD);
    }
    let request = request.body(()).unwrap();
    let Ok((response, stream)) = send.send_request(request, asked.upload.is_none()) else {
        return Answer::none(End::Broken);
    };
    if asked.upload.is_some() {
        actix_rt::spawn(send_upload(stream));
    }
    let Ok(response) = response.await else {
        return Answer::none(End::Broken);
    };
    let (head, mut body) = response.into_parts();
    let fields = (head.headers.iter())
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let mut answer = Answer {
        status: head.status.as_u16(),
        fields,
        body: Vec::new(),
        end: End::Whole,
    };
    let mut unread = 0;
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else {
            answer.end = End::Broken;
            break;
        };
        answer.body.extend_from_slice(&piece);
        if manner == Manner::Leave && answer.body.len() >= ENOUGH {
            break;
        }
        unread += piece.len();
        if manner == Manner::Slow && unread >= SIP {
            unread = 0;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        _ = body.flow_control().release_capacity(piece.len());
    }
    answer
}

async fn send_upload(mut stream: h2::SendStream<Bytes>) -> Option<()> {
    let mut rest = Bytes::from_static(upload());
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len().min(30_000));
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await?;
        let piece = rest.split_to(room.ok()?.min(rest.len()));
        stream.send_data(piece, rest.is_empty()).ok()?;
    }
    Some(())
}

/// One request on this connection.
pub async fn steady(send: SendRequest<Bytes>, asked: Asked) -> Answer {
    ask(send, asked, Manner::Steady).await
}

/// Does what this kind of client does on this connection.
pub async fn run(kind: Kind, send: SendRequest<Bytes>, row: &Row, path: &str) -> Vec<Answer> {
    let requests = kind.requests(row, path);
    let steady = |asked| steady(send.clone(), asked);
    match kind {
        Kind::Pipelined | Kind::Two => join_all(requests.into_iter().map(steady)).await,
        Kind::Slow => vec![ask(send.clone(), requests[0].clone(), Manner::Slow).await],
        Kind::Leaves => {
            ask(send.clone(), requests[0].clone(), Manner::Leave).await;
            vec![steady(requests[1].clone()).await]
        }
        _ => {
            let mut answers = Vec::new();
            for asked in requests {
                answers.push(steady(asked).await);
            }
            answers
        }
    }
}
