//! Finds the end of a request head in the bytes as they come, each looked at once. Pure.

/// Where in a request head the last byte was.
#[derive(Debug, Default)]
pub struct HeadScan {
    at: At,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before the first line: empty lines are skipped there (RFC 9112 §2.2).
    #[default]
    Before,
    /// In a line that holds something.
    InLine,
    /// At the begin of a line.
    LineBegin,
    /// Behind the empty line.
    Behind,
}

impl HeadScan {
    /// Whether anything came but empty lines.
    pub fn has_begun(&self) -> bool {
        self.at != At::Before
    }

    /// Whether the head is whole.
    pub fn is_whole(&self) -> bool {
        self.at == At::Behind
    }

    /// How many of `bytes` belong to the head.
    pub fn step(&mut self, bytes: &[u8]) -> usize {
        for (n, &byte) in bytes.iter().enumerate() {
            self.at = match (self.at, byte) {
                (At::Behind, _) => return n,
                (At::Before, b'\r' | b'\n') => At::Before,
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
