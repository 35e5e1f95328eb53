//! The heads of HTTP/1.1 messages (RFC 9112) as bytes: as much as both ends of a test need, and apart from what the proxy
//! uses to read them.

use std::{borrow::Cow, fmt::Write as _, time::SystemTime};

/// Where the head at the front ends, its empty line included; none while it is not whole.
#[must_use]
pub fn end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

/// The first line, without its end.
#[must_use]
pub fn line(head: &[u8]) -> &[u8] {
    let end = head.windows(2).position(|two| two == b"\r\n");
    &head[..end.unwrap_or(head.len())]
}

/// Method, target and version of a request, byte for byte; none where the line has no three parts. A target may have blanks.
#[must_use]
pub fn request(head: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let line = line(head);
    let blank = |byte: &u8| *byte == b' ';
    let (begin, end) = (line.iter().position(blank)?, line.iter().rposition(blank)?);
    let target = line.get(begin + 1..end)?;
    Some((&line[..begin], target, &line[end + 1..]))
}

/// A response's status; none where the line has none.
#[must_use]
pub fn status(head: &[u8]) -> Option<u16> {
    let line = String::from_utf8_lossy(line(head));
    line.split(' ').nth(1)?.get(..3)?.parse().ok()
}

/// The values of the fields of this name, in order.
#[must_use]
pub fn fields(head: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(head);
    text.split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

/// A response's head, with its empty line: `status` is a code and its reason, `lines` the fields, each with its line end.
/// It has the body's length, unless none is given.
#[must_use]
pub fn response(status: &str, lines: &str, length: Option<u64>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n{lines}");
    if let Some(length) = length {
        // A String takes everything.
        _ = write!(head, "content-length: {length}\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A status code with its reason: `206 Partial Content`.
#[must_use]
pub fn reason(status: u16) -> Cow<'static, str> {
    Cow::Borrowed(match status {
        200 => "200 OK",
        206 => "206 Partial Content",
        304 => "304 Not Modified",
        400 => "400 Bad Request",
        404 => "404 Not Found",
        405 => "405 Method Not Allowed",
        412 => "412 Precondition Failed",
        416 => "416 Range Not Satisfiable",
        503 => "503 Service Unavailable",
        _ => return Cow::Owned(format!("{status} Told")),
    })
}

/// A moment as a field has it (RFC 9110, section 5.6.7): `Sat, 31 Jan 2026 12:00:00 GMT`.
#[must_use]
pub fn date(moment: SystemTime) -> String {
    httpdate::fmt_http_date(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /a b HTTP/1.1\r\nHost: x\r\nvia: 1\r\nVia:2 \r\n\r\n";

    #[test]
    fn a_request_is_taken_apart() {
        assert_eq!(end(HEAD), Some(HEAD.len()));
        assert_eq!(end(&HEAD[..HEAD.len() - 1]), None);
        let parts: (&[u8], &[u8], &[u8]) = (b"GET", b"/a b", b"HTTP/1.1");
        assert_eq!(request(HEAD), Some(parts));
        assert_eq!(request(b"GET /\r\n\r\n"), None);
        assert_eq!(fields(HEAD, "VIA"), ["1", "2"]);
    }

    #[test]
    fn a_response_has_its_status_and_length() {
        let head = response(&reason(404), "a: b\r\n", Some(3));
        assert_eq!(
            head,
            b"HTTP/1.1 404 Not Found\r\na: b\r\ncontent-length: 3\r\n\r\n"
        );
        assert_eq!(status(&head), Some(404));
        assert_eq!(status(b"HTTP/1.1\r\n\r\n"), None);
    }
}
