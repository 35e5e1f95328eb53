//! Percent-encodes bytes in a request target that a URI does not allow but clients send. Pure.
//!
//! Browsers encode them themselves (WHATWG URL, path and query state); curl and many media players do not. Both forms identify the
//! same resource (RFC 3987 §3.1), but actix-http accepts only valid URIs.

use bytes::{BufMut as _, BytesMut};

/// The start and end of the target in the request line.
fn target(head: &[u8]) -> Option<(usize, usize)> {
    // Empty lines before the request line are ignored (RFC 9112 §2.2).
    let first = head.iter().position(|b| !b"\r\n".contains(b))?;
    let line = &head[first..];
    let line = &line[..line.iter().position(|&b| b == b'\n')?];
    let begin = line.iter().position(|&b| b == b' ')? + 1;
    let end = line.iter().rposition(|&b| b == b' ')?;
    (begin < end).then_some((first + begin, first + end))
}

/// Whether a byte must be percent-encoded.
fn is_raw(byte: u8, in_query: bool) -> bool {
    match byte {
        0x80.. | b'<' | b'>' => true,
        b'"' => in_query,
        b'`' => !in_query,
        _ => false,
    }
}

/// The bytes of a target, each with whether it must be percent-encoded.
fn bytes(target: &[u8]) -> impl Iterator<Item = (u8, bool)> + '_ {
    let mut in_query = false;
    target.iter().map(move |&byte| {
        in_query |= byte == b'?';
        (byte, is_raw(byte, in_query))
    })
}

/// Whether the target of this head contains such bytes.
pub fn has_raw_target(head: &[u8]) -> bool {
    target(head).is_some_and(|(begin, end)| bytes(&head[begin..end]).any(|(_, raw)| raw))
}

/// The head with its target percent-encoded.
pub fn encode_target(head: &[u8]) -> BytesMut {
    let (begin, end) = target(head).unwrap_or_default();
    let mut encoded = BytesMut::with_capacity(head.len() + 2 * (end - begin));
    encoded.extend_from_slice(&head[..begin]);
    for (byte, raw) in bytes(&head[begin..end]) {
        if raw {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            encoded.put_u8(byte);
        }
    }
    encoded.extend_from_slice(&head[end..]);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_uri_has_is_encoded_and_only_in_the_target() {
        for (came, meant) in [
            (
                "GET /a?q=ü HTTP/1.1\r\nx: ü\r\n\r\n",
                Some("GET /a?q=%C3%BC HTTP/1.1\r\nx: ü\r\n\r\n"),
            ),
            (
                "\r\nGET /ü/b HTTP/1.1\r\n\r\n",
                Some("\r\nGET /%C3%BC/b HTTP/1.1\r\n\r\n"),
            ),
            (
                "GET /\"`?\"`<> HTTP/1.1\r\n\r\n",
                Some("GET /\"%60?%22`%3C%3E HTTP/1.1\r\n\r\n"),
            ),
            ("GET /%c3%bc?a=%zz|{}[]\\^ HTTP/1.1\r\nx: ü\r\n\r\n", None),
            ("ü / HTTP/1.1\r\n\r\n", None),
            ("GET /\r\n\r\n", None),
            ("GET\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(has_raw_target(came.as_bytes()), meant.is_some(), "{came}");
            let encoded = encode_target(came.as_bytes());
            assert_eq!(&encoded[..], meant.unwrap_or(came).as_bytes());
        }
    }
}
