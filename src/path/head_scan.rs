//! Finds the end of a request head while it arrives; each byte is inspected once. Pure.

/// Parser state: where in a request head the last byte was.
#[derive(Debug, Default)]
pub struct HeadScan {
    at: At,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before the request line: empty lines are skipped there (RFC 9112 §2.2).
    #[default]
    Before,
    /// Behind a CR there: only with an LF is it an empty line.
    BeforeLf,
    /// Inside a line that is not empty.
    InLine,
    /// At the start of a line.
    LineBegin,
    /// Behind the empty line that ends the head.
    Behind,
}

impl HeadScan {
    /// Whether anything but empty lines has arrived.
    pub fn has_begun(&self) -> bool {
        self.at != At::Before
    }

    /// Whether the head is complete.
    pub fn is_whole(&self) -> bool {
        self.at == At::Behind
    }

    /// Returns how many of `bytes` belong to the head.
    pub fn step(&mut self, bytes: &[u8]) -> usize {
        for (n, &byte) in bytes.iter().enumerate() {
            self.at = match (self.at, byte) {
                (At::Behind, _) => return n,
                (At::Before | At::BeforeLf, b'\n') => At::Before,
                (At::Before, b'\r') => At::BeforeLf,
                (At::LineBegin, b'\r') => At::LineBegin,
                (At::LineBegin, b'\n') => At::Behind,
                (At::InLine, b'\n') => At::LineBegin,
                _ => At::InLine,
            };
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_is_no_begin_of_a_head_and_a_cr_alone_is() {
        for (text, begun) in [
            ("", false),
            ("\r\n\n\r\n", false),
            ("\r\n\r", true),
            ("\rG", true),
            ("\r\r\n", true),
        ] {
            let mut scan = HeadScan::default();
            scan.step(text.as_bytes());
            assert_eq!(scan.has_begun(), begun, "{text:?}");
        }
    }

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
            assert!(scan.is_whole());
        }
    }
}
