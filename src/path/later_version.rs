//! Requests with a later minor version than HTTP/1.1. They are treated as HTTP/1.1 (RFC 9110 §2.5), which needs a change of the
//! head, because actix-http would refuse it. Pure.

/// The position of the minor version in the request line, if it is 2 to 9.
pub fn digit(head: &[u8]) -> Option<usize> {
    // Empty lines before the request line are ignored (RFC 9112 §2.2).
    let first = head.iter().position(|byte| !b"\r\n".contains(byte))?;
    let end = first + head[first..].iter().position(|&byte| byte == b'\n')?;
    let line = head[..end].strip_suffix(b"\r").unwrap_or(&head[..end]);
    let is_later = line[..line.len() - 1].ends_with(b" HTTP/1.")
        && line
            .last()
            .is_some_and(|digit| (b'2'..=b'9').contains(digit));
    is_later.then(|| line.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_minor_version_of_http_1_is_found() {
        for (head, at) in [
            ("GET / HTTP/1.2\r\n\r\n", Some(13)),
            ("\r\nGET / HTTP/1.9\n\n", Some(15)),
            ("GET / HTTP/1.1\r\nx: a HTTP/1.2\r\n\r\n", None),
            ("GET / HTTP/1.0\r\n\r\n", None),
            ("GET / HTTP/2.2\r\n\r\n", None),
            ("GET / HTTP/1.10\r\n\r\n", None),
            ("GET /HTTP/1.2\r\n\r\n", None),
            ("2\r\n\r\n", None),
            ("\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(digit(head.as_bytes()), at, "{head}");
        }
    }
}
