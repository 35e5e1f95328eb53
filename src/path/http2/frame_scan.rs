//! Finds the frames in a client's bytes as they pass (RFC 9113 §4.1). Pure.

/// What a client says first, before any frame (RFC 9113 §3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// A frame's head.
const HEAD: usize = 9;
/// The type of a DATA frame (RFC 9113 §6.1).
const DATA: u8 = 0;
/// Its flag for padding, and the most that is then no data: 255 bytes and their count.
const PADDED: u8 = 8;
const PADDING: u64 = 256;

/// Where in a connection's frames the last byte was.
#[derive(Debug)]
pub struct FrameScan {
    head: [u8; HEAD],
    /// Bytes of the head so far.
    len: usize,
    /// Bytes to come before the next head.
    skip: usize,
}

/// What came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Frames whose heads are whole.
    pub frames: u64,
    /// Bytes of DATA that they bring: never told too high.
    pub data: u64,
}

impl Default for FrameScan {
    /// Before the preface.
    fn default() -> Self {
        FrameScan {
            head: [0; HEAD],
            len: 0,
            skip: PREFACE,
        }
    }
}

impl FrameScan {
    /// Goes on by `bytes`.
    pub fn step(&mut self, mut bytes: &[u8]) -> Passed {
        let mut passed = Passed::default();
        loop {
            let skip = self.skip.min(bytes.len());
            self.skip -= skip;
            bytes = &bytes[skip..];
            let take = (HEAD - self.len).min(bytes.len());
            if take == 0 {
                return passed;
            }
            self.head[self.len..self.len + take].copy_from_slice(&bytes[..take]);
            self.len += take;
            bytes = &bytes[take..];
            if self.len == HEAD {
                let [a, b, c, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                passed.frames += 1;
                passed.data += match (kind, flags & PADDED) {
                    (DATA, 0) => u64::from(length),
                    (DATA, _) => u64::from(length).saturating_sub(PADDING),
                    _ => 0,
                };
                (self.len, self.skip) = (0, length as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        // Bytes that look like heads of long frames.
        frame.resize(HEAD + length, 0xff);
        frame
    }

    #[test]
    fn frames_and_their_data_are_counted_wherever_the_bytes_are_cut() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, flags, length) in [
            (4, 0, 6),
            (0, 0, 0),
            (0, 1, 1000),
            (6, 0, 8),
            (0, PADDED, 300),
            (0, PADDED, 200),
        ] {
            bytes.extend(frame(kind, flags, length));
        }
        // A head that is not whole is none.
        bytes.extend([0; HEAD - 1]);
        for cut in 1..=bytes.len() {
            let mut scan = FrameScan::default();
            let mut all = Passed::default();
            for piece in bytes.chunks(cut) {
                let passed = scan.step(piece);
                all.frames += passed.frames;
                all.data += passed.data;
            }
            let told = Passed {
                frames: 6,
                data: 1044,
            };
            assert_eq!(all, told, "cut every {cut} bytes");
        }
    }
}
