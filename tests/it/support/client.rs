//! A client made of a raw socket: it sends exact bytes and sees every way in which a response can end.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, SockRef, Socket, Type};

use super::{DEADLINE, message};

/// How a stream of bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: the other side closed.
    Close,
    /// By a reset.
    Reset,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By its own framing: all of it is here, and the connection may be used again.
    Whole,
    /// The connection closed. A body without length ends so; any other one was cut.
    Close,
    /// The connection was reset.
    Reset,
}

/// A response as it came.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The head, with its empty line.
    pub head: Vec<u8>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// How it ended.
    pub ending: Ending,
}

impl Response {
    /// The field's value, if it is there once.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut all = self.fields(name);
        assert!(all.len() <= 1, "{name} is there more than once: {self:?}");
        all.pop()
    }

    /// The values of all fields of this name, in order.
    pub fn fields(&self, name: &str) -> Vec<String> {
        message::fields(&self.head, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a problem of the proxy's own.
    pub fn problem(&self) -> serde_json::Value {
        assert_eq!(
            self.field("content-type").as_deref(),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.body[..self.body.len().min(200)];
        write!(
            f,
            "{}[{} body bytes, ended by {:?}] {}",
            String::from_utf8_lossy(&self.head),
            self.body.len(),
            self.ending,
            String::from_utf8_lossy(shown)
        )
    }
}

/// A client's connection.
pub struct Client {
    pub socket: TcpStream,
    buffer: Vec<u8>,
    deadline: Instant,
}

/// A connection with so small a receive buffer.
pub fn little_room(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// A connection from an address of its own, like 127.0.0.7.
pub fn socket_from(own: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(own, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

impl Client {
    /// Connects.
    pub fn to(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect_timeout(&address, DEADLINE).unwrap())
    }

    /// Connects from an address of its own, like 127.0.0.7.
    pub fn from(own: IpAddr, address: SocketAddr) -> Self {
        Self::on(socket_from(own, address))
    }

    /// Connects with so small a receive buffer that little fits between the proxy and a reader that stops.
    pub fn with_little_room(address: SocketAddr) -> Self {
        Self::on(little_room(address))
    }

    fn on(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        Client {
            socket,
            buffer: Vec::new(),
            deadline: Instant::now() + DEADLINE,
        }
    }

    /// Gives the client another while.
    pub fn patient(&mut self) -> &mut Self {
        self.deadline = Instant::now() + DEADLINE;
        self
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap();
        self
    }

    /// Sends these bytes, if the other side takes them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.write_all(bytes.as_ref())
    }

    /// Sends no more.
    pub fn shut(&mut self) -> &mut Self {
        self.socket.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Leaves with a reset.
    pub fn reset(self) {
        SockRef::from(&self.socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// GET on this connection.
    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: proxy\r\n\r\n"));
        self.response()
    }

    /// GET with these header lines, each with its line end.
    pub fn get_with(&mut self, target: &str, lines: &str) -> Response {
        self.send(format!(
            "GET {target} HTTP/1.1\r\nhost: proxy\r\n{lines}\r\n"
        ));
        self.response()
    }

    /// Reads whatever comes next; the end, if nothing does.
    fn more(&mut self) -> Result<(), End> {
        let mut piece = [0; 64 * 1024];
        let left = self.deadline.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "nothing came for too long after {:?}",
            String::from_utf8_lossy(&self.buffer)
        );
        self.socket.set_read_timeout(Some(left)).unwrap();
        match self.socket.read(&mut piece) {
            Ok(0) => Err(End::Close),
            Ok(n) => {
                self.buffer.extend_from_slice(&piece[..n]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    /// Reads exactly so many bytes.
    pub fn exactly(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n {
            self.more().unwrap();
        }
        self.buffer.drain(..n).collect()
    }

    /// Reads to the end.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.more() {
                return (std::mem::take(&mut self.buffer), end);
            }
        }
    }

    /// Whether the other side closes without another byte.
    pub fn closes(&mut self) -> bool {
        let (rest, _) = self.rest();
        rest.is_empty()
    }

    /// A head, interim responses among them, with its empty line.
    pub fn head(&mut self) -> Vec<u8> {
        loop {
            if let Some(at) = message::head_end(&self.buffer) {
                return self.buffer.drain(..at).collect();
            }
            if let Err(end) = self.more() {
                panic!(
                    "{end:?} instead of a head, after {:?}",
                    String::from_utf8_lossy(&self.buffer)
                );
            }
        }
    }

    /// The next response.
    pub fn response(&mut self) -> Response {
        self.answer(false)
    }

    /// The next response, to a HEAD request.
    pub fn response_to_head(&mut self) -> Response {
        self.answer(true)
    }

    fn answer(&mut self, to_head: bool) -> Response {
        let head = self.head();
        let status = message::status(&head);
        let bodiless = to_head || status < 200 || status == 204 || status == 304;
        let (body, ending) = if bodiless {
            (Vec::new(), Ending::Whole)
        } else {
            self.body(&head)
        };
        Response {
            status,
            head,
            body,
            ending,
        }
    }

    /// The body behind a head, and how it ended.
    pub fn body(&mut self, head: &[u8]) -> (Vec<u8>, Ending) {
        let mut framing = message::framing(head);
        let mut body = Vec::new();
        loop {
            if message::take(&mut framing, &mut self.buffer, &mut body) {
                return (body, Ending::Whole);
            }
            match self.more() {
                Ok(()) => {}
                Err(End::Close) => return (body, Ending::Close),
                Err(End::Reset) => return (body, Ending::Reset),
            }
        }
    }
}
