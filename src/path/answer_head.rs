//! What actix-http writes at the begin of an answer, as far as the connection's stream must know it. Pure.

/// What it answers by itself to a head that it cannot read.
const BAD_HEAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n";
/// The same for one that is too large.
const LARGE_HEAD: &[u8] = b"HTTP/1.1 431 ";
/// What it says to a client that waits with its body. No part of an answer.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// It writes Connection behind the status and the framing.
const LINES: usize = 4;

/// The begin of what is written for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerHead {
    /// An interim response alone; the answer is to come.
    Continue,
    /// An answer, and whether the connection ends behind it.
    Answer {
        /// Whether it does.
        closes: bool,
    },
}

impl AnswerHead {
    /// Reads the first bytes that are written for a request.
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

/// The status with which actix-http refuses a head by itself, if that is what is written.
pub fn refusal(bytes: &[u8]) -> Option<u16> {
    if bytes.starts_with(BAD_HEAD) {
        Some(400)
    } else if bytes.starts_with(LARGE_HEAD) {
        Some(431)
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
