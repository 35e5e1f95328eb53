//! A request's head, as far as a file server needs it.

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target, query included.
    pub target: String,
    /// Range header.
    pub range: Option<String>,
    /// If-Range header.
    pub if_range: Option<String>,
    /// If-None-Match header.
    pub if_none_match: Option<String>,
    /// If-Modified-Since header.
    pub if_modified_since: Option<String>,
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// Whether a body follows, which this origin does not read.
    pub has_body: bool,
}

impl Request {
    /// The request at the front of the buffer and the length of its head; none while it is incomplete.
    ///
    /// # Errors
    ///
    /// It is not HTTP.
    pub fn parse(buffer: &[u8]) -> Result<Option<(Self, usize)>, httparse::Error> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = parsed.parse(buffer)? else {
            return Ok(None);
        };
        let mut request = Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            keep_alive: parsed.version == Some(1),
            ..Self::default()
        };
        for header in parsed.headers.iter() {
            let value = String::from_utf8_lossy(header.value).trim().to_owned();
            match header.name.to_ascii_lowercase().as_str() {
                "range" => request.range = Some(value),
                "if-range" => request.if_range = Some(value),
                "if-none-match" => request.if_none_match = Some(value),
                "if-modified-since" => request.if_modified_since = Some(value),
                "connection" if value.eq_ignore_ascii_case("close") => request.keep_alive = false,
                "connection" if value.eq_ignore_ascii_case("keep-alive") => {
                    request.keep_alive = true
                }
                "content-length" if value != "0" => request.has_body = true,
                "transfer-encoding" => request.has_body = true,
                _ => {}
            }
        }
        Ok(Some((request, length)))
    }
}
