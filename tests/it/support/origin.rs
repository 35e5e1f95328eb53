//! An origin made of raw sockets, that does on the wire whatever a test tells it.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use fileproxy_testbed::{content::Content, framing::Framing, head, range::Wanted};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;

use super::{DEADLINE, client::End, message, proxy::Upstream};

/// A request as it came.
#[derive(Clone, Default)]
pub struct Request {
    /// The head, with its empty line.
    pub head: Vec<u8>,
    /// The body as it came, chunked coding and all.
    pub raw: Vec<u8>,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Request {
    /// The first line, without its end.
    pub fn line(&self) -> Vec<u8> {
        head::line(&self.head).to_vec()
    }

    /// The method.
    pub fn method(&self) -> String {
        let (method, ..) = head::request(&self.head).unwrap();
        String::from_utf8(method.to_vec()).unwrap()
    }

    /// The target, byte for byte.
    pub fn target(&self) -> Vec<u8> {
        let (_, target, _) = head::request(&self.head).unwrap();
        target.to_vec()
    }

    /// The field's value, if it is there once.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut all = self.fields(name);
        assert!(all.len() <= 1, "{name} is there more than once: {self:?}");
        all.pop()
    }

    /// The first and the last byte of the one part that is asked for of a file of this length; none where none is asked for, or
    /// none that the file has.
    pub fn range(&self, len: usize) -> Option<(usize, usize)> {
        match Wanted::of(&self.field("range")?, len as u64, 1) {
            Wanted::Parts(parts) => Some((parts[0].start as usize, parts[0].end as usize - 1)),
            _ => None,
        }
    }

    /// The values of all fields of this name, in order.
    pub fn fields(&self, name: &str) -> Vec<String> {
        message::fields(&self.head, name)
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.body[..self.body.len().min(200)];
        write!(
            f,
            "{}[{} body bytes] {}",
            String::from_utf8_lossy(&self.head),
            self.body.len(),
            String::from_utf8_lossy(shown)
        )
    }
}

/// What the origin saw.
#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    resumed: AtomicUsize,
    /// Bytes of bodies that the proxy took, where a script says so.
    taken: AtomicUsize,
    stop: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
    gate: (Mutex<bool>, Condvar),
}

/// The origin. Dropped, it closes every connection.
pub struct Origin {
    address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Seen>,
}

enum Transport {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// One connection, as its script sees it.
pub struct Connection {
    transport: Transport,
    seen: Arc<Seen>,
    buffer: Vec<u8>,
    /// Which of all requests its last one is.
    at: usize,
    /// How many connections came before this one.
    pub number: usize,
}

impl Origin {
    /// An origin whose every connection follows this script.
    pub fn following(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.1:0", None, script)
    }

    /// The same at an address of the test's choice, or with TLS.
    pub fn on(
        address: &str,
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let served = Arc::clone(&seen);
        thread::spawn(move || accept(&listener, tls, &served, &Arc::new(script)));
        Origin {
            address,
            scheme,
            seen,
        }
    }

    /// An origin that gives each request the answer of `answer`, on connections that are kept.
    pub fn answering<B: AsRef<[u8]>>(
        answer: impl Fn(&Request) -> B + Send + Sync + 'static,
    ) -> Self {
        Self::following(move |connection| {
            while let Some(request) = connection.request() {
                connection.send(answer(&request));
            }
        })
    }

    /// An origin that gives each request this answer.
    pub fn saying(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::answering(move |_| answer.clone())
    }

    /// An origin that gives each connection's first request this answer, and then closes.
    pub fn saying_and_closing(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::following(move |connection| {
            if connection.request().is_some() {
                connection.send(&answer);
            }
        })
    }

    /// The same, but the connection ends with a reset, once the proxy has had time to read.
    pub fn saying_and_resetting(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::following(move |connection| {
            if connection.request().is_some() {
                connection.send(&answer);
                connection.reset_when_read();
            }
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The request last seen.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("no request came")
    }

    /// How many requests came.
    pub fn hits(&self) -> usize {
        self.seen.requests.lock().unwrap().len()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(SeqCst)
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.seen.open.load(SeqCst)
    }

    /// How many connections were open at once at most.
    pub fn most_open(&self) -> usize {
        self.seen.most_open.load(SeqCst)
    }

    /// How many TLS handshakes resumed a session.
    pub fn resumed(&self) -> usize {
        self.seen.resumed.load(SeqCst)
    }

    /// What scripts counted as taken.
    pub fn taken(&self) -> usize {
        self.seen.taken.load(SeqCst)
    }

    /// Lets scripts go on that wait for it.
    pub fn open_gate(&self) {
        *self.seen.gate.0.lock().unwrap() = true;
        self.seen.gate.1.notify_all();
    }

    /// Closes every connection that is open now.
    pub fn close_all(&self) {
        for socket in self.seen.sockets.lock().unwrap().drain(..) {
            _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Upstream for Origin {
    fn url(&self) -> String {
        let host = if self.scheme == "https" {
            "localhost".to_owned()
        } else {
            self.address.ip().to_string()
        };
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.seen.stop.store(true, SeqCst);
        self.open_gate();
        self.close_all();
        // Wakes the accepting thread.
        _ = TcpStream::connect(self.address);
    }
}

fn accept<S: Fn(&mut Connection) + Send + Sync + 'static>(
    listener: &TcpListener,
    tls: Option<Arc<ServerConfig>>,
    seen: &Arc<Seen>,
    script: &Arc<S>,
) {
    while let Ok((socket, _)) = listener.accept() {
        if seen.stop.load(SeqCst) {
            return;
        }
        let number = seen.connections.fetch_add(1, SeqCst);
        seen.open.fetch_add(1, SeqCst);
        let others = seen.sockets.lock().unwrap();
        let open = 1 + others.iter().filter(|other| !has_ended(other)).count();
        drop(others);
        seen.most_open.fetch_max(open, SeqCst);
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        seen.sockets
            .lock()
            .unwrap()
            .push(socket.try_clone().unwrap());
        let (seen, script, tls) = (Arc::clone(seen), Arc::clone(script), tls.clone());
        thread::spawn(move || {
            let transport = match tls {
                None => Transport::Tcp(socket),
                Some(config) => Transport::Tls(Box::new(StreamOwned::new(
                    ServerConnection::new(config).unwrap(),
                    socket,
                ))),
            };
            let mut connection = Connection {
                transport,
                seen,
                buffer: Vec::new(),
                at: 0,
                number,
            };
            script(&mut connection);
        });
    }
}

/// Whether the proxy has closed a connection, even if its script has not read so far.
fn has_ended(socket: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    match SockRef::from(socket).recv_with_flags(&mut byte, flags) {
        Ok(n) => n == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

impl Connection {
    fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Tcp(tcp) => tcp,
            Transport::Tls(tls) => &tls.sock,
        }
    }

    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Tcp(tcp) => tcp.read(piece),
            Transport::Tls(tls) => tls.read(piece),
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 64 * 1024];
        let n = self.read(&mut piece).ok().filter(|&n| n > 0)?;
        self.buffer.extend_from_slice(&piece[..n]);
        Some(())
    }

    /// The next request's head alone; `None` when the proxy is gone. It counts as a hit.
    pub fn head(&mut self) -> Option<Request> {
        let end = loop {
            if let Some(end) = message::head_end(&self.buffer) {
                break end;
            }
            self.more()?;
        };
        let request = Request {
            head: self.buffer.drain(..end).collect(),
            ..Request::default()
        };
        if let Transport::Tls(tls) = &self.transport
            && tls.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
        {
            self.seen.resumed.fetch_add(1, SeqCst);
        }
        let mut requests = self.seen.requests.lock().unwrap();
        self.at = requests.len();
        requests.push(request.clone());
        drop(requests);
        Some(request)
    }

    /// The next request with its body; `None` when the proxy is gone.
    pub fn request(&mut self) -> Option<Request> {
        let mut request = self.head()?;
        self.body(&mut request)?;
        Some(request)
    }

    /// Reads the body behind a request's head; `None` when the proxy is gone.
    pub fn body(&mut self, request: &mut Request) -> Option<()> {
        self.each_piece(request, |_, _| true)?;
        if let Some(seen) = self.seen.requests.lock().unwrap().get_mut(self.at) {
            *seen = request.clone();
        }
        Some(())
    }

    /// Reads the body behind a request's head, and gives each piece as it comes; `None` when the proxy is gone, or a piece
    /// is answered so.
    pub fn each_piece(
        &mut self,
        request: &mut Request,
        mut take: impl FnMut(&mut Self, &[u8]) -> bool,
    ) -> Option<()> {
        let mut framing = match message::framing(&request.head) {
            Framing::Close => Framing::Length(0),
            framing => framing,
        };
        loop {
            let (before, known) = (self.buffer.clone(), request.body.len());
            let whole = message::take(&mut framing, &mut self.buffer, &mut request.body);
            request
                .raw
                .extend_from_slice(&before[..before.len() - self.buffer.len()]);
            if request.body.len() > known && !take(self, &request.body[known..]) {
                return None;
            }
            if whole {
                return Some(());
            }
            self.more()?;
        }
    }

    /// Sends these bytes; whether the proxy took them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        match &mut self.transport {
            Transport::Tcp(tcp) => tcp.write_all(bytes).is_ok(),
            Transport::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()).is_ok(),
        }
    }

    /// A send that gets nothing rid for so long fails.
    pub fn give_up_after(&self, patience: Duration) {
        self.socket().set_write_timeout(Some(patience)).unwrap();
    }

    /// Little fits into what was sent and is not taken.
    pub fn keep_little(&self) {
        SockRef::from(self.socket())
            .set_send_buffer_size(16 * 1024)
            .unwrap();
    }

    /// Counts bytes that the proxy took.
    pub fn took(&self, n: usize) {
        self.seen.taken.fetch_add(n, SeqCst);
    }

    /// Reads a piece of whatever comes, at most `most`; 0 at the end.
    pub fn piece(&mut self, most: usize) -> usize {
        if !self.buffer.is_empty() {
            let n = self.buffer.len().min(most);
            self.buffer.drain(..n);
            return n;
        }
        let mut piece = vec![0; most];
        self.read(&mut piece).unwrap_or(0)
    }

    /// Reads a piece of whatever comes, at most `most`; empty at the end.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        if !self.buffer.is_empty() {
            let n = self.buffer.len().min(most);
            return self.buffer.drain(..n).collect();
        }
        let mut piece = vec![0; most];
        let n = self.read(&mut piece).unwrap_or(0);
        piece.truncate(n);
        piece
    }

    /// Closes with a reset, at once.
    pub fn reset(&mut self) {
        SockRef::from(self.socket())
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Closes with a reset after the proxy has acknowledged all that was sent, and had a while to read it: a reset
    /// throws away what still waits to be read.
    pub fn reset_when_read(&mut self) {
        let began = Instant::now();
        while fileproxy::path::tcp::unacknowledged(self.socket()).unwrap_or(0) > 0
            && began.elapsed() < DEADLINE
        {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(100));
        self.reset();
    }

    /// Ends the stream without a word, TLS's own goodbye not even.
    pub fn vanish(&mut self) {
        _ = self.socket().shutdown(Shutdown::Both);
    }

    /// Waits until the test opens the gate, or ends.
    pub fn wait(&self) {
        let (open, changed) = &self.seen.gate;
        let mut open = open.lock().unwrap();
        while !*open && !self.seen.stop.load(SeqCst) {
            open = changed.wait_timeout(open, DEADLINE).unwrap().0;
        }
    }

    /// Does nothing until the proxy closes the connection; how it did.
    pub fn stall(&mut self) -> End {
        let mut piece = [0; 4096];
        loop {
            match self.read(&mut piece) {
                Ok(0) => return End::Close,
                Ok(_) => {}
                Err(_) => return End::Reset,
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Others hold the socket too: closing alone would not tell the proxy. A reset needs the last owner to close.
        let own = self
            .socket()
            .local_addr()
            .ok()
            .zip(self.socket().peer_addr().ok());
        self.seen.sockets.lock().unwrap().retain(|socket| {
            socket.local_addr().ok().zip(socket.peer_addr().ok()) != own || own.is_none()
        });
        if let Transport::Tls(tls) = &mut self.transport
            && SockRef::from(&tls.sock).linger().ok().flatten().is_none()
        {
            tls.conn.send_close_notify();
            _ = tls.flush();
        }
        self.seen.open.fetch_sub(1, SeqCst);
    }
}

/// A file of this length, of bytes that differ everywhere, so that a shifted body shows.
pub fn file(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Content::of("/").fill(0, &mut bytes);
    bytes
}

/// A response with this body and its length.
pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    response("200 OK", "", body)
}

/// A response with these header lines, each with its line end, and this body with its length.
pub fn response(status: &str, lines: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = head::response(status, lines, Some(body.len() as u64));
    bytes.extend_from_slice(body);
    bytes
}
