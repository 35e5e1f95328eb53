//! Writes a request head for the origin (RFC 9112 §3).

use actix_http::{
    RequestHead,
    header::{self, HeaderMap},
};
use bytes::{BufMut as _, BytesMut};

/// Appends the head to `out`: request line, Host, and the other fields unchanged. The body's framing is among them.
pub(super) fn write_head(head: &RequestHead, out: &mut BytesMut) {
    let target = head.uri.path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    out.reserve(target.len() + 32 * (2 + head.headers.len()));
    put(
        out,
        &[head.method.as_str().as_bytes(), b" ", target.as_bytes()],
    );
    out.put_slice(b" HTTP/1.1\r\nhost: ");
    // Host comes first (RFC 9110 §7.2).
    match head.headers.get(header::HOST) {
        Some(host) => out.put_slice(host.as_bytes()),
        None => {
            let authority = head.uri.authority();
            out.put_slice(authority.map_or(b"", |authority| authority.as_str().as_bytes()));
        }
    }
    out.put_slice(b"\r\n");
    write_fields(&head.headers, out);
    if head.headers.contains_key(header::UPGRADE) {
        out.put_slice(b"connection: upgrade\r\n");
    }
    out.put_slice(b"\r\n");
}

fn write_fields(headers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in headers {
        if name != header::HOST {
            put(
                out,
                &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"],
            );
        }
    }
}

fn put(out: &mut BytesMut, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use actix_http::{Method, Uri, header::HeaderValue};

    use super::*;

    fn written(uri: &'static str, fields: &[(&'static str, &'static str)]) -> String {
        let mut head = RequestHead::default();
        head.method = Method::GET;
        head.uri = Uri::from_static(uri);
        for (name, value) in fields {
            let name = header::HeaderName::from_static(name);
            head.headers.append(name, HeaderValue::from_static(value));
        }
        let mut out = BytesMut::new();
        write_head(&head, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn host_comes_first_and_every_line_of_a_field_is_sent() {
        assert_eq!(
            written(
                "http://origin:8080/a?b",
                &[
                    ("range", "bytes=0-"),
                    ("host", "files.example"),
                    ("range", "bytes=1-")
                ]
            ),
            "GET /a?b HTTP/1.1\r\nhost: files.example\r\nrange: bytes=0-\r\nrange: bytes=1-\r\n\r\n"
        );
    }

    #[test]
    fn without_a_host_it_is_the_origins() {
        assert_eq!(
            written("http://origin:8080/", &[]),
            "GET / HTTP/1.1\r\nhost: origin:8080\r\n\r\n"
        );
    }

    #[test]
    fn an_offered_protocol_is_named_as_a_matter_of_the_connection() {
        assert_eq!(
            written("http://origin/", &[("upgrade", "websocket")]),
            "GET / HTTP/1.1\r\nhost: origin\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
        );
    }
}
