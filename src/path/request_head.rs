//! Parses what a request head says about the following bytes: the body's framing (RFC 9112 §6), and an offer to switch protocols
//! (RFC 9110 §7.8). Pure.
//!
//! actix-http parses the same head again and misinterprets some offers: any `Connection: upgrade` makes it close the connection
//! after the response without saying so, and `Upgrade: websocket` makes it read an endless body whatever Content-Length says. So
//! offers that cannot be accepted are removed first.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// The most fields in a head; actix-http's own limit.
const MAX_FIELDS: usize = 96;

/// How the body behind a request head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFraming {
    /// A body of this many bytes; zero for none.
    Length(u64),
    /// A chunked body.
    Chunked,
}

/// The protocol that a request offers to switch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// None.
    None,
    /// WebSocket (RFC 6455 §4.1): a GET without a body that offers nothing else. The handler may accept it.
    WebSocket,
    /// Another protocol, without a body: the handler may accept it. actix-http is told that it is WebSocket, because only then does
    /// it stop reading requests (see [`name_websocket`]).
    Other,
    /// An offer that is not accepted: HTTP/2 or TLS, several protocols, or one with a body. A server may ignore it (RFC 9110 §7.8),
    /// and this one does.
    Ignored,
}

/// What a request head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// How its body is delimited.
    pub framing: RequestFraming,
    /// What it offers.
    pub offer: Offer,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// The request line or a field is malformed.
    #[error("{0}")]
    Syntax(httparse::Error),
    /// The target has a fragment, which is not allowed (RFC 9110 §7.1), and which actix-http would silently drop.
    #[error("the request target has a fragment")]
    Fragment,
    /// More fields than the limit.
    #[error("more than {MAX_FIELDS} fields")]
    TooManyFields,
    /// Content-Length is not a number.
    #[error("a Content-Length that is no number")]
    ContentLength,
    /// More than one Content-Length, or Transfer-Encoding beside one (RFC 9112 §6.3).
    #[error("more than one field that says how long the body is")]
    Ambiguous,
    /// A transfer coding other than chunked, or one in HTTP/1.0.
    #[error("a Transfer-Encoding other than chunked")]
    TransferEncoding,
}

impl RequestHead {
    /// Parses a complete head, with its empty line.
    ///
    /// # Errors
    ///
    /// [`BadHead`] if it is not HTTP/1.x, or the end of its body is ambiguous.
    pub fn parse(head: &[u8]) -> Result<Self, BadHead> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(head) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => {}
            Ok(_) => return Err(BadHead::Syntax(httparse::Error::NewLine)),
            Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooManyFields),
            Err(error) => return Err(BadHead::Syntax(error)),
        }
        if request.path.is_some_and(|target| target.contains('#')) {
            return Err(BadHead::Fragment);
        }
        let (mut length, mut chunked) = (None, false);
        let (mut upgrades, mut protocol, mut settings, mut connected) = (0, &b""[..], false, false);
        for field in &*request.headers {
            let value = field.value.trim_ascii();
            match Name::of(field.name.as_bytes()) {
                Some(Name::ContentLength) if length.is_some() => return Err(BadHead::Ambiguous),
                Some(Name::ContentLength) => length = Some(number(value)?),
                Some(Name::TransferEncoding) if chunked => return Err(BadHead::Ambiguous),
                Some(Name::TransferEncoding) => {
                    if request.version != Some(1) || !field.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(BadHead::TransferEncoding);
                    }
                    chunked = true;
                }
                Some(Name::Upgrade) => {
                    upgrades += 1;
                    protocol = value;
                }
                Some(Name::Http2Settings) => settings = true,
                Some(Name::Connection) => {
                    connected |= options(field.value).any(|at| is_offer(&field.value[at]));
                }
                None => {}
            }
        }
        if chunked && length.is_some() {
            return Err(BadHead::Ambiguous);
        }
        let framing = match length {
            _ if chunked => RequestFraming::Chunked,
            length => RequestFraming::Length(length.unwrap_or(0)),
        };
        let is_bare = request.version == Some(1) && framing == RequestFraming::Length(0);
        let may_switch = upgrades == 1 && connected && is_bare && !settings;
        let is_get = request.method == Some("GET");
        let is_websocket = protocol.eq_ignore_ascii_case(b"websocket");
        let offer = if may_switch && is_websocket && is_get {
            Offer::WebSocket
        } else if may_switch && !is_websocket && is_other(protocol) {
            Offer::Other
        } else if upgrades > 0 || settings || connected {
            Offer::Ignored
        } else {
            Offer::None
        };
        Ok(RequestHead { framing, offer })
    }
}

/// Removes an offer to switch protocols from a complete head: Upgrade, HTTP2-Settings, and their names in Connection.
pub fn remove_offer(head: &mut BytesMut) {
    let (mut kept, mut at) = (0, 0);
    while at < head.len() {
        let line = &mut head[at..];
        let end = line.iter().position(|&b| b == b'\n');
        let end = end.map_or(line.len(), |end| end + 1);
        let line = &mut line[..end];
        let colon = line.iter().position(|&b| b == b':').unwrap_or(0);
        match Name::of(&line[..colon]) {
            Some(Name::Upgrade | Name::Http2Settings) => {}
            name => {
                if name == Some(Name::Connection) {
                    let value = &mut line[colon + 1..];
                    let offers: Vec<_> = options(value)
                        .filter(|option| is_offer(&value[option.clone()]))
                        .collect();
                    for offer in offers {
                        // An empty list element is ignored (RFC 9110 §5.6.1).
                        value[offer].fill(b' ');
                    }
                }
                head.copy_within(at..at + end, kept);
                kept += end;
            }
        }
        at += end;
    }
    head.truncate(kept);
}

/// Whether a protocol name may be switched to by a 101 (RFC 9110 §7.8): a single one, but neither HTTP/2 nor TLS.
fn is_other(protocol: &[u8]) -> bool {
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(b);
    let name = protocol.split(|&b| b == b'/').next().unwrap_or_default();
    let own = [&b"h2c"[..], b"h2", b"http", b"tls"];
    !name.is_empty()
        && protocol.iter().all(is_token)
        && !own.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// Replaces the offered protocol in a complete head by WebSocket; returns the original one.
pub fn name_websocket(head: &mut BytesMut) -> Bytes {
    let (mut named, mut protocol) = (BytesMut::with_capacity(head.len() + 16), Bytes::new());
    for line in head.split_inclusive(|&b| b == b'\n') {
        let colon = line.iter().position(|&b| b == b':').unwrap_or(0);
        if Name::of(&line[..colon]) == Some(Name::Upgrade) {
            protocol = Bytes::copy_from_slice(line[colon + 1..].trim_ascii());
            named.extend_from_slice(b"upgrade: websocket\r\n");
        } else {
            named.extend_from_slice(line);
        }
    }
    *head = named;
    protocol
}

/// The fields that matter here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    ContentLength,
    TransferEncoding,
    Upgrade,
    Http2Settings,
    Connection,
}

impl Name {
    fn of(name: &[u8]) -> Option<Self> {
        let (name_is, this): (&[u8], _) = match name.len() {
            7 => (b"upgrade", Name::Upgrade),
            10 => (b"connection", Name::Connection),
            14 if name[0] | 0x20 == b'c' => (b"content-length", Name::ContentLength),
            14 => (b"http2-settings", Name::Http2Settings),
            17 => (b"transfer-encoding", Name::TransferEncoding),
            _ => return None,
        };
        name.eq_ignore_ascii_case(name_is).then_some(this)
    }
}

/// A number of bytes: only digits (RFC 9110 §8.6).
fn number(value: &[u8]) -> Result<u64, BadHead> {
    let digits = std::str::from_utf8(value).ok();
    digits
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or(BadHead::ContentLength)
}

/// The ranges of a list's elements, without surrounding whitespace.
fn options(list: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    list.split(|&b| b == b',').map(move |element| {
        let begin = at + element.len() - element.trim_ascii_start().len();
        at += element.len() + 1;
        begin..begin + element.trim_ascii().len()
    })
}

/// Whether a connection option belongs to an offer to switch protocols.
fn is_offer(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"upgrade") || option.eq_ignore_ascii_case(b"http2-settings")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<RequestHead, BadHead> {
        RequestHead::parse(text.as_bytes())
    }

    #[test]
    fn a_length_or_chunks_delimit_a_body_and_nothing_else_does() {
        for (lines, framing) in [
            ("", RequestFraming::Length(0)),
            ("Content-Length: 5\r\n", RequestFraming::Length(5)),
            ("content-length:007 \r\n", RequestFraming::Length(7)),
            ("TRANSFER-ENCODING: Chunked\r\n", RequestFraming::Chunked),
            ("X-Content-Length: 5\r\n", RequestFraming::Length(0)),
            ("Note: content-length: 5\r\n", RequestFraming::Length(0)),
        ] {
            let read = head(&format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n")).unwrap();
            assert_eq!(read.framing, framing, "{lines}");
        }
    }

    #[test]
    fn a_body_that_could_end_in_two_places_is_refused() {
        let (ambiguous, coding, number) = (
            BadHead::Ambiguous,
            BadHead::TransferEncoding,
            BadHead::ContentLength,
        );
        for (lines, why) in [
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                ambiguous,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
                ambiguous,
            ),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", ambiguous),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                ambiguous,
            ),
            ("Transfer-Encoding: chunked, chunked\r\n", coding),
            ("Transfer-Encoding: gzip, chunked\r\n", coding),
            ("Transfer-Encoding: identity\r\n", coding),
            ("Transfer-Encoding: xchunked\r\n", coding),
            ("Transfer-Encoding: \"chunked\"\r\n", coding),
            ("Transfer-Encoding:\r\n", coding),
            ("Content-Length: +5\r\n", number),
            ("Content-Length: -5\r\n", number),
            ("Content-Length: 5,5\r\n", number),
            ("Content-Length: 0x5\r\n", number),
            ("Content-Length: 5_0\r\n", number),
            ("Content-Length: 5 0\r\n", number),
            ("Content-Length:\r\n", number),
            ("Content-Length: 18446744073709551616\r\n", number),
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
            assert_eq!(head(&text), Err(why), "{lines}");
        }
        for text in [
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length\t: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\n Content-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chun\r\n ked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nX\0: b\r\n\r\n",
            "POST / HTTP/1.1\r\n\r\r\n",
        ] {
            assert!(matches!(head(text), Err(BadHead::Syntax(_))), "{text}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(head(old), Err(BadHead::TransferEncoding));
    }

    #[test]
    fn a_fragment_is_what_no_target_has() {
        for (text, has) in [
            ("GET /a#b HTTP/1.1\r\n\r\n", true),
            ("GET http://b/?c#d HTTP/1.1\r\n\r\n", true),
            ("G#T /a HTTP/1.1\r\nx: #\r\n\r\n", false),
        ] {
            assert_eq!(head(text) == Err(BadHead::Fragment), has, "{text}");
        }
    }

    #[test]
    fn only_a_bare_get_may_switch_to_websocket() {
        let both = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
        for (line, lines, offer) in [
            ("GET / HTTP/1.1", both, Offer::WebSocket),
            ("GET / HTTP/1.1", "", Offer::None),
            ("GET / HTTP/1.1", "Connection: close\r\n", Offer::None),
            ("POST / HTTP/1.1", both, Offer::Ignored),
            ("GET / HTTP/1.0", both, Offer::Ignored),
            ("GET / HTTP/1.1", "Upgrade: websocket\r\n", Offer::Ignored),
            ("GET / HTTP/1.1", "Connection: upgrade\r\n", Offer::Ignored),
            ("GET / HTTP/1.1", "HTTP2-Settings: AA\r\n", Offer::Ignored),
            (
                "GET / HTTP/1.1",
                "Connection: upgrade\r\nUpgrade: h2c\r\n",
                Offer::Ignored,
            ),
            (
                "GET / HTTP/1.1",
                "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
                Offer::Ignored,
            ),
            (
                "GET / HTTP/1.1",
                "Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
                Offer::Ignored,
            ),
        ] {
            let read = head(&format!("{line}\r\nHost: x\r\n{lines}\r\n")).unwrap();
            assert_eq!(read.offer, offer, "{line} {lines}");
        }
    }

    #[test]
    fn another_protocol_may_be_offered_beside_no_body() {
        for (line, upgrade, offer) in [
            ("GET / HTTP/1.1", "tcp", Offer::Other),
            ("POST / HTTP/1.1", "SPDY/3.1", Offer::Other),
            ("GET / HTTP/1.1", "HTTP/2.0", Offer::Ignored),
            ("GET / HTTP/1.1", "TLS/1.2", Offer::Ignored),
            ("GET / HTTP/1.1", "h2c", Offer::Ignored),
            ("GET / HTTP/1.1", "a, b", Offer::Ignored),
            ("GET / HTTP/1.1", "", Offer::Ignored),
            ("GET / HTTP/1.0", "tcp", Offer::Ignored),
        ] {
            let lines = format!("Connection: Upgrade\r\nUpgrade: {upgrade}\r\n");
            let read = head(&format!("{line}\r\nHost: x\r\n{lines}\r\n")).unwrap();
            assert_eq!(read.offer, offer, "{line} {upgrade}");
        }
        let mut head = BytesMut::from("GET / HTTP/1.1\r\nUPGRADE: tcp \r\nHost: x\r\n\r\n");
        assert_eq!(name_websocket(&mut head), "tcp");
        assert_eq!(
            head,
            "GET / HTTP/1.1\r\nupgrade: websocket\r\nHost: x\r\n\r\n"
        );
    }

    #[test]
    fn of_an_offer_nothing_is_left_and_the_rest_stays() {
        let mut head = BytesMut::from(
            "GET /a:b HTTP/1.1\r\nHost: x\r\nConnection: X-Own,Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABk\r\nX-Upgrade: kept\r\nConnection: close\r\n\r\n",
        );
        remove_offer(&mut head);
        let blank = "Connection: X-Own,       ,               ";
        let left = format!(
            "GET /a:b HTTP/1.1\r\nHost: x\r\n{blank}\r\nX-Upgrade: kept\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(std::str::from_utf8(&head).unwrap(), left);
        assert_eq!(RequestHead::parse(&head).unwrap().offer, Offer::None);
    }
}
