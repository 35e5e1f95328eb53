//! Recognizes what actix-http writes at the start of a response, as far as the client's stream has to know it. Pure.

use super::refusal::Refusal;

/// The 400 that actix-http writes by itself for a head that it cannot parse.
const BAD_HEAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n";
/// The start of the 431 that actix-http writes by itself for a head that is too large.
const LARGE_HEAD: &[u8] = b"HTTP/1.1 431 ";
/// The interim response that actix-http writes for `Expect: 100-continue`; the final response follows.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// In how many of the first lines `Connection` is searched: actix-http writes it behind the status and the framing.
const LINES: usize = 4;

/// What the first bytes written for a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerHead {
    /// Only an interim 100; the final response follows.
    Continue,
    /// The final response.
    Answer {
        /// Whether it says `Connection: close`.
        closes: bool,
    },
}

impl AnswerHead {
    /// Parses the first bytes that actix-http writes for a request.
    pub fn of(bytes: &[u8]) -> Self {
        let bytes = match bytes.strip_prefix(CONTINUE) {
            Some([]) => return AnswerHead::Continue,
            Some(answer) => answer,
            None => bytes,
        };
        let mut closes = bytes.starts_with(b"HTTP/1.0 ");
        for line in bytes.split(|&b| b == b'\n').take(LINES) {
            if let Some(options) = line.strip_prefix(b"connection: ") {
                closes = options.starts_with(b"close");
            }
        }
        AnswerHead::Answer { closes }
    }
}

/// Why actix-http refused the request, if `bytes` are a refusal (400 or 431) that it wrote by itself, not a handler.
pub fn refusal(bytes: &[u8]) -> Option<Refusal> {
    if bytes.starts_with(BAD_HEAD) {
        Some(Refusal::Unreadable)
    } else if bytes.starts_with(LARGE_HEAD) {
        Some(Refusal::LargeHead)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_the_connection_ends_behind_it() {
        for (text, closes) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ndate: x\r\n\r\nok",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
                true,
            ),
            ("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n", true),
            ("HTTP/1.1 101 X\r\nconnection: upgrade\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok",
                false,
            ),
        ] {
            let read = AnswerHead::of(text.as_bytes());
            assert_eq!(read, AnswerHead::Answer { closes }, "{text}");
            let waited = [CONTINUE, text.as_bytes()].concat();
            assert_eq!(AnswerHead::of(&waited), read, "{text}");
        }
        assert_eq!(AnswerHead::of(CONTINUE), AnswerHead::Continue);
    }
}
