//! A request's head, as far as a file server needs it.

use fileproxy_testbed::head;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target, query included.
    pub target: String,
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// Whether a body follows, which this origin does not read.
    pub has_body: bool,
    head: Vec<u8>,
}

/// What came is not HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARequest;

impl Request {
    /// The request at the front of the buffer and the length of its head; none while it is incomplete.
    ///
    /// # Errors
    ///
    /// It is not HTTP/1.
    pub fn parse(buffer: &[u8]) -> Result<Option<(Self, usize)>, NotARequest> {
        let Some(end) = head::end(buffer) else {
            return Ok(None);
        };
        let head = buffer[..end].to_vec();
        let (method, target, version) = head::request(&head).ok_or(NotARequest)?;
        if !version.starts_with(b"HTTP/1.") {
            return Err(NotARequest);
        }
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let one = |name| head::fields(&head, name).pop();
        let keep_alive = match one("connection") {
            Some(value) if value.eq_ignore_ascii_case("close") => false,
            Some(value) if value.eq_ignore_ascii_case("keep-alive") => true,
            _ => version == b"HTTP/1.1",
        };
        let length = one("content-length").filter(|value| value != "0");
        let request = Self {
            method: text(method),
            target: text(target),
            keep_alive,
            has_body: length.or_else(|| one("transfer-encoding")).is_some(),
            head,
        };
        Ok(Some((request, end)))
    }

    /// The values of the fields of this name, joined with commas; none where there is no such field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let values = head::fields(&self.head, name);
        (!values.is_empty()).then(|| values.join(", "))
    }
}
