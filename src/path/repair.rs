//! Repairs a response head that violates HTTP, where RFC 9110 and RFC 9112 allow it and the body's framing stays unambiguous. Pure,
//! and only called for heads that the parser refused.

use bytes::BytesMut;

/// The result of a repair.
#[derive(Debug, PartialEq, Eq)]
pub enum Repaired {
    /// The repaired head, and the bytes behind it.
    Head(BytesMut),
    /// The head is incomplete: try again with more bytes.
    Incomplete,
    /// It cannot be repaired: it is not HTTP/1.x, or is ambiguous.
    Not,
}

/// Repairs the head at the start of `bytes`, of at most `max` bytes:
///
/// - `HTTP/1.2` and the like are read as HTTP/1.1, the highest that is known (RFC 9110 §2.5), and `ICY`, which servers of
///   live audio say, as HTTP/1.0;
/// - a value that goes on in the next line becomes one line (obs-fold, RFC 9112 §5.2);
/// - control characters in a value become blanks, but for NUL and a bare CR, which are refused (RFC 9110 §5.5);
/// - a field whose name is none is left out, unless it may have been meant to frame the body.
pub fn repair(bytes: &[u8], max: usize) -> Repaired {
    let (version, line) = match bytes {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, line @ ..] if minor.is_ascii_digit() => {
            let version = if *minor == b'0' {
                "HTTP/1.0"
            } else {
                "HTTP/1.1"
            };
            (version, line)
        }
        [b'I', b'C', b'Y', line @ ..] => ("HTTP/1.0", line),
        _ if b"ICY".starts_with(bytes) => return Repaired::Incomplete,
        _ => return Repaired::Not,
    };
    let end = |at: &usize| {
        line[*at] == b'\n' && matches!(&line[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..])
    };
    let Some(last) = (0..line.len().min(max)).find(end) else {
        return match bytes.len() < max {
            true => Repaired::Incomplete,
            false => Repaired::Not,
        };
    };
    let (head, behind) = line.split_at(last + 1);
    let Some(head) = unfolded(head) else {
        return Repaired::Not;
    };
    let mut lines = head.split(|&b| b == b'\n');
    let mut repaired = BytesMut::from(version);
    let status = lines.next().unwrap_or_default();
    repaired.extend(status.iter().map(|&b| if is_text(b) { b } else { b' ' }));
    repaired.extend_from_slice(b"\r\n");
    for line in lines.filter(|line| !line.is_empty()) {
        if is_field(line) {
            repaired.extend(line.iter().map(|&b| if is_text(b) { b } else { b' ' }));
            repaired.extend_from_slice(b"\r\n");
        } else if !line.contains(&b':') || may_frame(line) {
            return Repaired::Not;
        }
    }
    repaired.extend_from_slice(behind);
    Repaired::Head(repaired)
}

/// The lines of the head without folding, separated by LF; `None` if there is a NUL or a bare CR.
fn unfolded(head: &[u8]) -> Option<Vec<u8>> {
    let mut lines = Vec::with_capacity(head.len());
    let mut rest = head;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match (byte, behind) {
            (0, _) => return None,
            (b'\r', [b'\n', ..]) => {}
            (b'\r', _) => return None,
            (b'\n', [b' ' | b'\t', ..]) => lines.push(b' '),
            (b'\n', _) => lines.push(b'\n'),
            (byte, _) => lines.push(*byte),
        }
    }
    Some(lines)
}

fn is_text(b: u8) -> bool {
    b == b'\t' || !b.is_ascii_control()
}

/// Whether a line has a valid field name (RFC 9110 §5.6.2) and a colon.
fn is_field(line: &[u8]) -> bool {
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let colon = line.iter().position(|&b| b == b':');
    colon.is_some_and(|colon| {
        let name = line[..colon].trim_ascii_end();
        !name.is_empty() && name.iter().all(is_token)
    })
}

/// Whether its name is Content-Length or Transfer-Encoding if invalid characters are ignored.
fn may_frame(line: &[u8]) -> bool {
    let letters: Vec<u8> = line
        .iter()
        .take_while(|&&b| b != b':')
        .filter(|b| b.is_ascii_alphabetic())
        .map(u8::to_ascii_lowercase)
        .collect();
    [&b"contentlength"[..], b"transferencoding"]
        .iter()
        .any(|name| letters.windows(name.len()).any(|part| part == *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(head: &str) -> Option<String> {
        match repair(head.as_bytes(), 1000) {
            Repaired::Head(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
            _ => None,
        }
    }

    #[test]
    fn what_can_be_meant_in_one_way_only_is_repaired() {
        for (came, meant) in [
            (
                "HTTP/1.2 200 OK\r\na: b\r\n\r\nbody",
                "HTTP/1.1 200 OK\r\na: b\r\n\r\nbody",
            ),
            ("HTTP/1.9 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
            (
                "ICY 200 OK\r\nicy-name: x\r\n\r\nmp3",
                "HTTP/1.0 200 OK\r\nicy-name: x\r\n\r\nmp3",
            ),
            (
                "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\td\r\n\r\n",
                "HTTP/1.1 200 OK\r\na: b  c \td\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\na: b\u{1}c\u{7f}\r\n\r\n",
                "HTTP/1.1 200 OK\r\na: b c \r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\nX Powered By: x\na : b\n\n",
                "HTTP/1.1 200 OK\r\na : b\r\n\n",
            ),
            (
                "HTTP/1.1 200 OK\r\n: x\r\na: b\r\n\r\n",
                "HTTP/1.1 200 OK\r\na: b\r\n\r\n",
            ),
        ] {
            assert_eq!(repaired(came).as_deref(), Some(meant), "{came:?}");
        }
    }

    #[test]
    fn what_may_frame_a_body_in_two_ways_is_not() {
        for came in [
            "HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\rContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding\u{b}: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/0.9 200 OK\r\n\r\n",
            "ICE 200 OK\r\n\r\n",
            "<html>\r\n\r\n",
        ] {
            assert_eq!(repair(came.as_bytes(), 1000), Repaired::Not, "{came:?}");
        }
    }

    #[test]
    fn a_head_is_waited_for_as_long_as_it_may_be_one() {
        let whole = "ICY 200 OK\r\nicy-name: x\r\n\r\n";
        for n in 0..whole.len() {
            assert_eq!(
                repair(&whole.as_bytes()[..n], 1000),
                Repaired::Incomplete,
                "{n}"
            );
        }
        assert_eq!(repair(&whole.as_bytes()[..20], 20), Repaired::Not);
    }
}
