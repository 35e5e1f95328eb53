//! Clients over TLS: raw bytes, raw HTTP/2 frames, and HTTP/2 by a library.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use super::{DEADLINE, certificate::Certificate, message};

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// A blocking client over TLS.
pub struct Secure {
    io: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Secure {
    /// Connects and shakes hands, trusting this certificate alone.
    pub fn to(address: SocketAddr, trusted: &Certificate, protocols: &[&str]) -> io::Result<Self> {
        Self::over(
            TcpStream::connect_timeout(&address, DEADLINE)?,
            trusted,
            protocols,
        )
    }

    /// The same over a socket of the test's own.
    pub fn over(socket: TcpStream, trusted: &Certificate, protocols: &[&str]) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        let session = ClientConnection::new(trusted.trusted(protocols), name()).unwrap();
        let mut io = StreamOwned::new(session, socket);
        io.conn.complete_io(&mut io.sock)?;
        Ok(Secure {
            io,
            buffer: Vec::new(),
        })
    }

    /// The same over a socket of the test's own, which `greet` sends the first message on.
    pub fn greeting(
        socket: TcpStream,
        trusted: &Certificate,
        greet: impl FnOnce(&mut TcpStream, &[u8]),
    ) -> io::Result<Self> {
        let mut session = ClientConnection::new(trusted.trusted(&[]), name()).unwrap();
        let mut hello = Vec::new();
        session.write_tls(&mut hello)?;
        let mut io = StreamOwned::new(session, socket);
        greet(&mut io.sock, &hello);
        io.conn.complete_io(&mut io.sock)?;
        Ok(Secure {
            io,
            buffer: Vec::new(),
        })
    }

    /// The first message of a handshake.
    pub fn hello(trusted: &Certificate) -> Vec<u8> {
        let mut session = ClientConnection::new(trusted.trusted(&[]), name()).unwrap();
        let mut hello = Vec::new();
        session.write_tls(&mut hello).unwrap();
        hello
    }

    /// What was agreed on by ALPN.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.io.conn.alpn_protocol()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap();
        self
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref())?;
        self.io.flush()
    }

    /// Reads more; whether there was any.
    fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.io.read(&mut piece) {
            Ok(n) => {
                self.buffer.extend_from_slice(&piece[..n]);
                n > 0
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("nothing came for too long")
            }
            // A close without a goodbye, or a reset.
            Err(_) => false,
        }
    }

    /// Reads until so many bytes are here, and takes them.
    pub fn exactly(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n {
            assert!(self.more(), "it ended after {:?}", self.buffer);
        }
        self.buffer.drain(..n).collect()
    }

    /// Reads to the end.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.buffer)
    }

    /// The head of an HTTP/1.1 response.
    pub fn head(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = message::head_end(&self.buffer) {
                return self.buffer.drain(..end).collect();
            }
            assert!(self.more(), "it ended after {:?}", self.buffer);
        }
    }

    /// GET over HTTP/1.1: status and body.
    pub fn get(&mut self, target: &str) -> (u16, Vec<u8>) {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: proxy\r\n\r\n"));
        let head = self.head();
        let length = &message::fields(&head, "content-length")[0];
        let body = self.exactly(length.parse().unwrap());
        (message::status(&head), body)
    }
}

/// One HTTP/2 frame (RFC 9113 §4.1).
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const GOAWAY: u8 = 7;
    pub const CONTINUATION: u8 = 9;

    /// The error code of a RST_STREAM or a GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == Frame::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// HTTP/2 frame by frame, for what no library would send.
pub struct Frames(pub Secure);

impl Frames {
    /// Connects, and says the preface with these settings.
    pub fn to(address: SocketAddr, trusted: &Certificate, settings: &[(u16, u32)]) -> Self {
        Self::over(Secure::to(address, trusted, &["h2"]).unwrap(), settings)
    }

    /// The same over a connection of the test's own.
    pub fn over(io: Secure, settings: &[(u16, u32)]) -> Self {
        assert_eq!(io.protocol(), Some(&b"h2"[..]));
        let mut frames = Frames(io);
        frames.0.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        frames.send(Frame::SETTINGS, 0, 0, &payload);
        frames
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        self.try_send(kind, flags, stream, payload).unwrap();
        self
    }

    pub fn try_send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.try_send(frame)
    }

    /// The fields of `GET https://proxy/<path>`, without any compression.
    pub fn fields(path: &str) -> Vec<u8> {
        // Indexed: GET and https. Literal: the path, and the authority.
        let mut block = vec![0x82, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
        block.extend(path.as_bytes());
        block.extend(b"\x01\x05proxy");
        block
    }

    /// A GET on this stream.
    pub fn get(&mut self, stream: u32, path: &str) -> &mut Self {
        self.send(Frame::HEADERS, 0x5, stream, &Self::fields(path))
    }

    /// The client gives a request up.
    pub fn reset(&mut self, stream: u32) -> io::Result<()> {
        self.try_send(Frame::RST_STREAM, 0, stream, &8u32.to_be_bytes())
    }

    /// The next frame; none at the end.
    pub fn next(&mut self) -> Option<Frame> {
        while self.0.buffer.len() < 9 {
            if !self.0.more() {
                return None;
            }
        }
        let head: Vec<u8> = self.0.buffer[..9].to_vec();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        while self.0.buffer.len() < 9 + length {
            if !self.0.more() {
                return None;
            }
        }
        self.0.buffer.drain(..9);
        let payload = self.0.buffer.drain(..length).collect();
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff,
            payload,
        };
        if frame.kind == Frame::SETTINGS && frame.flags == 0 {
            // Whoever ended the connection needs no acknowledgement.
            _ = self.try_send(Frame::SETTINGS, 1, 0, &[]);
        }
        Some(frame)
    }

    /// The next frame of this kind on this stream; panics at the end.
    pub fn until(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self.next().expect("a frame before the end");
            if frame.kind == kind && frame.stream == stream {
                return frame;
            }
        }
    }
}

/// HTTP/2 by the library. Dropped with the runtime, the connection closes.
pub async fn h2(address: SocketAddr, trusted: &Certificate) -> SendRequest<Bytes> {
    h2_with(address, trusted, &h2::client::Builder::new()).await
}

/// The same with settings of one's own.
pub async fn h2_with(
    address: SocketAddr,
    trusted: &Certificate,
    builder: &h2::client::Builder,
) -> SendRequest<Bytes> {
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(trusted.trusted(&["h2"]));
    let io = connector.connect(name(), socket).await.unwrap();
    let (send, connection) = builder.handshake(io).await.unwrap();
    actix_rt::spawn(async move {
        _ = connection.await;
    });
    send.ready().await.unwrap()
}

/// A request without a body.
pub fn request(method: &str, path: &str) -> http::Request<()> {
    let uri = format!("https://proxy{path}");
    let request = http::Request::builder().method(method).uri(uri);
    request.body(()).unwrap()
}

/// The answer to a request without a body: its head, and its body or why it broke.
pub async fn answer(
    send: &mut SendRequest<Bytes>,
    request: http::Request<()>,
) -> (http::response::Parts, Result<Vec<u8>, h2::Error>) {
    let (response, _) = send.send_request(request, true).unwrap();
    let (head, body) = response.await.unwrap().into_parts();
    (head, whole(body).await)
}

/// A body, or why it broke.
pub async fn whole(mut body: h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok(all)
}
