//! A serialized HTTP/1.1 response head with placeholders for the values that change with each response. Pure.

use std::io::Write as _;

/// A complete response head with placeholders.
#[derive(Debug)]
pub struct RenderedHead {
    text: Box<[u8]>,
    /// The placeholders, in order, each with its offset in `text`.
    open: Vec<(usize, Open)>,
}

/// A value that differs in each response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// The value of Age (RFC 9111 §5.1).
    Age,
    /// `ttl` in the proxy's own member of Cache-Status (RFC 9211 §2.4).
    Ttl,
    /// The value of X-Request-Id.
    RequestId,
}

/// The values for one response.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// Seconds since the origin made the response.
    pub age: u64,
    /// Seconds for which it is still fresh; negative if it is stale.
    pub ttl: i64,
    /// The request's id.
    pub id: &'a str,
}

impl RenderedHead {
    /// Takes the head from the start of what actix-http writes. `leaves_id`: the request id was made by the proxy, so it changes.
    /// None if the head is incomplete, does not declare the body's length, or closes the connection.
    pub fn of(written: &[u8], leaves_id: bool) -> Option<Self> {
        let end = written.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = &written[..end + 2];
        let is_bodiless = head.starts_with(b"HTTP/1.1 304 ");
        let (mut text, mut open) = (Vec::with_capacity(head.len() + 2), Vec::new());
        let mut has_length = false;
        for line in head.split_inclusive(|&b| b == b'\n') {
            let colon = line.iter().position(|&b| b == b':').unwrap_or(0);
            let name = &line[..colon];
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("connection") || is("transfer-encoding") {
                return None;
            }
            has_length |= is("content-length");
            let value = line.get(colon + 2..line.len() - 2)?;
            let (kept, left) = if is("age") {
                (0, Some((Open::Age, value.len())))
            } else if is("x-request-id") && leaves_id {
                (0, Some((Open::RequestId, value.len())))
            } else if is("cache-status") {
                match ttl_in(value) {
                    Some((at, len)) => (at, Some((Open::Ttl, len))),
                    None => (0, None),
                }
            } else {
                (0, None)
            };
            match left {
                Some((what, len)) => {
                    let at = colon + 2 + kept;
                    text.extend_from_slice(&line[..at]);
                    open.push((text.len(), what));
                    text.extend_from_slice(&line[at + len..]);
                }
                None => text.extend_from_slice(line),
            }
        }
        text.extend_from_slice(b"\r\n");
        (has_length || is_bodiless).then(|| RenderedHead {
            text: text.into(),
            open,
        })
    }

    /// The head with these values filled in.
    pub fn with(&self, values: Values<'_>) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.text.len() + 64);
        let mut from = 0;
        for &(at, what) in &self.open {
            head.extend_from_slice(&self.text[from..at]);
            // Writing to a Vec cannot fail.
            _ = match what {
                Open::Age => write!(head, "{}", values.age),
                Open::Ttl => write!(head, "{}", values.ttl),
                Open::RequestId => write!(head, "{}", values.id),
            };
            from = at;
        }
        head.extend_from_slice(&self.text[from..]);
        head
    }

    /// Bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.open)
    }
}

/// Offset and length of the number behind `ttl=` in the proxy's own member of Cache-Status.
fn ttl_in(value: &[u8]) -> Option<(usize, usize)> {
    const BEFORE: &[u8] = b"fileproxy; hit; ttl=";
    let number = value.strip_prefix(BEFORE)?;
    let len = number
        .iter()
        .take_while(|b| b.is_ascii_digit() || **b == b'-');
    Some((BEFORE.len(), len.count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nage: 7\r\n\
        cache-status: origin; hit; ttl=5\r\ncache-status: fileproxy; hit; ttl=53\r\n\
        x-request-id: 0a1b\r\netag: \"x\"\r\n\r\nabc";

    #[test]
    fn open_values_are_written_anew_and_all_else_stays() {
        let head = RenderedHead::of(WRITTEN, true).unwrap();
        let values = Values {
            age: 12,
            ttl: -3,
            id: "another",
        };
        let text = String::from_utf8(head.with(values)).unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nage: 12\r\n\
             cache-status: origin; hit; ttl=5\r\ncache-status: fileproxy; hit; ttl=-3\r\n\
             x-request-id: another\r\netag: \"x\"\r\n\r\n"
        );
    }

    #[test]
    fn an_id_of_the_client_stays() {
        let head = RenderedHead::of(WRITTEN, false).unwrap();
        let values = Values {
            age: 7,
            ttl: 53,
            id: "another",
        };
        assert_eq!(head.with(values), WRITTEN[..WRITTEN.len() - 3]);
    }

    #[test]
    fn what_ends_the_connection_or_does_not_say_where_its_body_ends_is_none() {
        for written in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n",
            b"",
        ] {
            assert!(RenderedHead::of(written, true).is_none());
        }
        assert!(RenderedHead::of(b"HTTP/1.1 304 Not Modified\r\n\r\n", true).is_some());
    }
}
