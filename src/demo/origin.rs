//! The built-in origin: a real HTTP server with files to try a proxy with.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::ServerHandle,
    http::{Method, StatusCode, header},
    middleware::from_fn,
    rt::System,
    web,
};
use fileproxy_testbed::{
    answer::Answer,
    content::Content,
    representation::{Body, Representation},
};
use futures_util::StreamExt;
use ring::digest::{Context, SHA256};
use serde::Deserialize;
use tokio::time::sleep;

use super::{
    answer::{pieces, respond},
    catalogue::{CHECKSUMS, Catalogue, hex, size_of},
    line::{self, Connection, Line},
    network::Network,
};

/// Keep-alive time: longer than that of proxies, so that they close first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Longest delay of `/slow`.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

const WORKERS: usize = 2;

/// A running origin on its own threads. Stops when dropped.
#[derive(Debug)]
pub struct Origin {
    addr: SocketAddr,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Listens on `listen` (port 0: any free one) and serves over the simulated `network`.
    ///
    /// # Errors
    ///
    /// The address cannot be used, or no thread can be started.
    pub fn start(listen: SocketAddr, network: Network, seed: u64) -> io::Result<Origin> {
        let listener = TcpListener::bind(listen)?;
        let addr = listener.local_addr()?;
        let (handle, started) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("demo-origin".into())
            .spawn(move || {
                System::new().block_on(async {
                    let server = match server(listener, network, seed) {
                        Ok(server) => server,
                        Err(error) => {
                            _ = handle.send(Err(error)); // the other end waits below
                            return;
                        }
                    };
                    _ = handle.send(Ok(server.handle()));
                    if let Err(error) = server.await {
                        tracing::error!(%error, "the demo's origin ended");
                    }
                });
            })?;
        let server = started
            .recv()
            .map_err(|_| io::Error::other("the origin's thread ended at its start"))??;
        Ok(Origin {
            addr,
            server,
            thread: Some(thread),
        })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Closes all connections and waits for the threads to end.
    pub fn stop(self) {}
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.server.stop(false)); // the command is sent by the call
        if let Some(thread) = self.thread.take() {
            _ = thread.join(); // a panic there was printed there
        }
    }
}

fn server(
    listener: TcpListener,
    network: Network,
    seed: u64,
) -> io::Result<actix_web::dev::Server> {
    let line = web::Data::new(Line::new(network, seed, Instant::now()));
    let catalogue = web::Data::new(Catalogue::default());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(line.clone())
            .app_data(catalogue.clone())
            .wrap(from_fn(line::carry))
            .route("/slow", web::to(slow))
            .route("/status/{code}", web::to(status))
            .route("/chunked/{size}", web::to(chunked))
            .service(
                web::resource("/upload")
                    .route(web::post().to(upload))
                    .route(web::put().to(upload)),
            )
            .default_service(web::to(file))
    })
    .on_connect(Connection::attach)
    .workers(WORKERS)
    .keep_alive(KEEP_ALIVE)
    // a proxy may connect ahead of its first request
    .client_request_timeout(Duration::ZERO)
    .h1_allow_half_closed(false)
    .disable_signals()
    .listen(listener)?
    .run();
    Ok(server)
}

async fn file(request: HttpRequest, catalogue: web::Data<Catalogue>) -> HttpResponse {
    let path = request.path().to_owned();
    let found = if path == CHECKSUMS {
        // hashing takes a while: not on this thread
        web::block(move || catalogue.find(&path))
            .await
            .unwrap_or_default()
    } else {
        catalogue.find(&path)
    };
    match found {
        None => HttpResponse::NotFound().body("no such file; see / for what there is\n"),
        Some(_) if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            HttpResponse::MethodNotAllowed()
                .insert_header((header::ALLOW, "GET, HEAD"))
                .finish()
        }
        Some(found) => respond(&request, &found),
    }
}

#[derive(Deserialize)]
struct Slow {
    /// Milliseconds.
    ms: u64,
}

async fn slow(query: web::Query<Slow>) -> HttpResponse {
    let wait = Duration::from_millis(query.ms).min(LONGEST_SLEEP);
    sleep(wait).await;
    HttpResponse::Ok().body(format!("answered after {} ms\n", wait.as_millis()))
}

async fn status(code: web::Path<u16>) -> HttpResponse {
    match StatusCode::from_u16(*code) {
        Ok(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => {
            HttpResponse::build(StatusCode::from_u16(*code).unwrap_or(StatusCode::NO_CONTENT))
                .finish()
        }
        Ok(status) if (200..600).contains(&status.as_u16()) => {
            HttpResponse::build(status).body(format!("{status}\n"))
        }
        _ => HttpResponse::BadRequest().body("give a status from 200 to 599\n"),
    }
}

async fn chunked(request: HttpRequest, size: web::Path<String>) -> HttpResponse {
    let Some(len) = size_of(&size) else {
        return HttpResponse::BadRequest().body("give a size up to 10GB, like 64KB\n");
    };
    let file = Representation {
        body: Body::Made(Content::of(request.path()), len),
        media_type: "application/octet-stream",
    };
    let answer = Answer::to("GET", |_| None, &file, 0);
    HttpResponse::Ok()
        .content_type(file.media_type)
        .streaming(pieces(answer))
}

async fn upload(mut body: web::Payload) -> HttpResponse {
    let mut context = Context::new(&SHA256);
    let mut len = 0;
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => {
                len += piece.len();
                context.update(&piece);
            }
            Err(error) => return HttpResponse::BadRequest().body(format!("{error}\n")),
        }
    }
    HttpResponse::Ok().json(serde_json::json!({
        "bytes": len,
        "sha256": hex(context.finish().as_ref()),
    }))
}
