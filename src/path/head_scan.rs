//! Finds the end of a request head in the bytes as they come, and whether a body follows it. Pure.
//!
//! actix-http decodes the next head of a connection while the request before it is still answered, and answers with
//! what the last head said (HEAD, version, Connection). So heads are handed to it one at a time, and for that their
//! ends must be known.

/// The longest of the names that tell of a body.
const LONGEST: usize = b"transfer-encoding".len();

/// Where in a request head the last byte was.
#[derive(Debug)]
pub struct HeadScan {
    at: At,
    /// The begin of the line at hand.
    name: [u8; LONGEST],
    len: usize,
    body: bool,
    /// What of the request line was seen.
    line: RequestLine,
}

/// How far the request line came (RFC 9112 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestLine {
    Method,
    Target,
    /// The target has a `#`.
    Fragment,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first line: empty lines are skipped there (RFC 9112 §2.2).
    Before,
    /// In a line that holds something.
    InLine,
    /// At the begin of a line.
    LineBegin,
    /// Behind the empty line.
    Behind,
}

impl Default for HeadScan {
    /// Before a head.
    fn default() -> Self {
        HeadScan {
            at: At::Before,
            name: [0; LONGEST],
            len: 0,
            body: false,
            line: RequestLine::Method,
        }
    }
}

impl HeadScan {
    /// Whether the head is whole.
    pub fn is_whole(&self) -> bool {
        self.at == At::Behind
    }

    /// Whether the head tells of a body: it has a Content-Length or a Transfer-Encoding.
    pub fn tells_of_a_body(&self) -> bool {
        self.body
    }

    /// Whether the target has a fragment, which none may have (RFC 9110 §7.1): what reads on drops it without a word.
    pub fn has_fragment(&self) -> bool {
        self.line == RequestLine::Fragment
    }

    /// How many of `bytes` belong to the head.
    pub fn step(&mut self, bytes: &[u8]) -> usize {
        for (n, &byte) in bytes.iter().enumerate() {
            self.at = match (self.at, byte) {
                (At::Behind, _) => return n,
                (At::Before, b'\r' | b'\n') => At::Before,
                (At::LineBegin, b'\r') => At::LineBegin,
                (At::LineBegin, b'\n') => At::Behind,
                (At::InLine, b'\n') => {
                    self.len = 0;
                    if self.line != RequestLine::Fragment {
                        self.line = RequestLine::Over;
                    }
                    At::LineBegin
                }
                _ => {
                    self.take(byte);
                    At::InLine
                }
            };
        }
        bytes.len()
    }

    fn take(&mut self, byte: u8) {
        self.line = match (self.line, byte) {
            (RequestLine::Method, b' ') => RequestLine::Target,
            (RequestLine::Target, b'#') => RequestLine::Fragment,
            (line, _) => line,
        };
        if byte == b':' && self.len <= LONGEST {
            let name = &self.name[..self.len];
            self.body |= name.eq_ignore_ascii_case(b"content-length")
                || name.eq_ignore_ascii_case(b"transfer-encoding");
            self.len = LONGEST + 1;
        } else if self.len < LONGEST {
            self.name[self.len] = byte;
            self.len += 1;
        } else {
            self.len = LONGEST + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_is_cut() {
        let text = b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.1\r\n";
        let end = text.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        for cut in 0..text.len() {
            let mut scan = HeadScan::default();
            let first = scan.step(&text[..cut]);
            let second = if first < cut {
                0
            } else {
                scan.step(&text[cut..])
            };
            assert_eq!(first + second, end, "cut at {cut}");
            assert!(scan.is_whole() && !scan.tells_of_a_body());
        }
    }

    #[test]
    fn a_fragment_is_what_a_target_has_and_nothing_else() {
        for (text, has) in [
            ("GET /a#b HTTP/1.1\r\n\r\n", true),
            ("GET http://b/?c#d HTTP/1.1\r\n\r\n", true),
            ("G#T /a HTTP/1.1\r\nx: #\r\n\r\n", false),
        ] {
            let mut scan = HeadScan::default();
            scan.step(text.as_bytes());
            assert_eq!(scan.has_fragment(), has, "{text}");
        }
    }

    #[test]
    fn a_length_or_a_coding_tells_of_a_body_and_nothing_else_does() {
        for (line, tells) in [
            ("Content-Length: 5", true),
            ("TRANSFER-ENCODING: chunked", true),
            ("X-Content-Length: 5", false),
            ("Content-Lengths: 5", false),
            ("Transfer-Encodings: chunked", false),
            ("Note: content-length: 5", false),
        ] {
            let mut scan = HeadScan::default();
            scan.step(format!("GET / HTTP/1.1\r\n{line}\r\n\r\n").as_bytes());
            assert!(scan.is_whole());
            assert_eq!(scan.tells_of_a_body(), tells, "{line}");
        }
    }
}
