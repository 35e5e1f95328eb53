//! Finds the frame boundaries in a connection's bytes as they pass (RFC 9113 §4.1). Pure.

/// Length of the client preface, before any frame (RFC 9113 §3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// Length of a frame header.
const HEAD: usize = 9;
/// Frame types (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
/// Flags of DATA and HEADERS; of SETTINGS the first one means an acknowledgement.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Flag for padding, and the most bytes of a padded frame that are not data: 255 and the length byte.
const PADDED: u8 = 8;
const PADDING: u64 = 256;
/// Length of one setting: identifier and value.
const SETTING: usize = 6;
/// SETTINGS_HEADER_TABLE_SIZE, and its initial value.
const TABLE_SIZE: u16 = 1;
const TABLE: u32 = 4096;

/// Parser state: where in the frames the last byte was.
#[derive(Debug)]
pub struct FrameScan {
    head: [u8; HEAD],
    /// Bytes of the frame header so far.
    len: usize,
    /// Bytes to skip before the next frame header.
    skip: usize,
    /// Whether the field section continues in the next frame, so that no other frame may be sent between.
    in_fields: bool,
    /// The stream that ends with the current frame.
    ends: Option<u32>,
    /// The bytes of the current setting in a SETTINGS frame.
    setting: [u8; SETTING],
    set: Option<usize>,
}

/// What was found in the scanned bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Frames whose header is complete.
    pub frames: u64,
    /// Bytes of DATA payload; at least this many (padding is not counted).
    pub data: u64,
    /// Whether the peer set the HPACK dynamic table smaller than the default (RFC 7541 §4.2).
    pub small_table: bool,
}

impl FrameScan {
    /// For a client's bytes, starting with the preface.
    pub fn of_client() -> Self {
        FrameScan {
            skip: PREFACE,
            ..Self::of_server()
        }
    }

    /// For a server's bytes.
    pub fn of_server() -> Self {
        FrameScan {
            head: [0; HEAD],
            len: 0,
            skip: 0,
            in_fields: false,
            ends: None,
            setting: [0; SETTING],
            set: None,
        }
    }

    /// Scans `bytes`. Calls `ended` for each stream whose last frame (END_STREAM) is complete.
    pub fn step(&mut self, mut bytes: &[u8], mut ended: impl FnMut(u32)) -> Passed {
        let mut passed = Passed::default();
        loop {
            let skip = self.skip.min(bytes.len());
            if self.set.is_some() {
                passed.small_table |= self.settings(&bytes[..skip]);
            }
            self.skip -= skip;
            bytes = &bytes[skip..];
            if self.skip == 0
                && let Some(stream) = self.ends.take()
            {
                ended(stream);
            }
            let take = (HEAD - self.len).min(bytes.len());
            if take == 0 {
                return passed;
            }
            self.head[self.len..self.len + take].copy_from_slice(&bytes[..take]);
            self.len += take;
            bytes = &bytes[take..];
            if self.len == HEAD {
                self.begin(&mut passed);
            }
        }
    }

    /// The most bytes that may be written before the next frame boundary; none if it is here.
    pub fn to_gap(&self) -> usize {
        match (self.skip, self.len, self.in_fields) {
            (0, 0, false) => 0,
            (0, len, _) => HEAD - len,
            (skip, ..) => skip,
        }
    }

    /// Handles a complete frame header.
    fn begin(&mut self, passed: &mut Passed) {
        let [a, b, c, kind, flags, id @ ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        passed.frames += 1;
        passed.data += match (kind, flags & PADDED) {
            (DATA, 0) => u64::from(length),
            (DATA, _) => u64::from(length).saturating_sub(PADDING),
            _ => 0,
        };
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_fields = flags & END_HEADERS == 0;
        }
        let is_last = match kind {
            DATA | HEADERS => flags & END_STREAM != 0,
            kind => kind == RST_STREAM,
        };
        self.ends = is_last.then(|| u32::from_be_bytes(id) & (u32::MAX >> 1));
        self.set = (kind == SETTINGS && flags & ACK == 0).then_some(0);
        (self.len, self.skip) = (0, length as usize);
    }

    /// Continues in a SETTINGS frame; returns whether it makes the table smaller than the default.
    fn settings(&mut self, bytes: &[u8]) -> bool {
        let mut small = false;
        for &byte in bytes {
            let at = self.set.unwrap_or(0);
            self.setting[at] = byte;
            self.set = Some((at + 1) % SETTING);
            if at + 1 == SETTING {
                let [a, b, value @ ..] = self.setting;
                let is_size = u16::from_be_bytes([a, b]) == TABLE_SIZE;
                small |= is_size && u32::from_be_bytes(value) < TABLE;
            }
        }
        small
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        // Payload that looks like headers of long frames.
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
        // An incomplete frame header does not count.
        bytes.extend([0; HEAD - 1]);
        for cut in 1..=bytes.len() {
            let mut scan = FrameScan::of_client();
            let mut all = Passed::default();
            for piece in bytes.chunks(cut) {
                let passed = scan.step(piece, |_| {});
                all.frames += passed.frames;
                all.data += passed.data;
            }
            let told = Passed {
                frames: 6,
                data: 1044,
                small_table: false,
            };
            assert_eq!(all, told, "cut every {cut} bytes");
        }
    }

    #[test]
    fn a_stream_has_ended_when_its_last_frame_is_whole() {
        for (kind, flags, ends) in [
            (DATA, END_STREAM, true),
            (DATA, 0, false),
            (HEADERS, END_STREAM, true),
            (RST_STREAM, 0, true),
            (SETTINGS, ACK, false),
            (6, 1, false),
        ] {
            for length in [0, 20] {
                let bytes = frame(kind, flags, length);
                let mut scan = FrameScan::of_server();
                let mut ended = Vec::new();
                let (last, before) = bytes.split_last().unwrap();
                scan.step(before, |stream| ended.push(stream));
                assert!(ended.is_empty());
                scan.step(&[*last], |stream| ended.push(stream));
                assert_eq!(ended, vec![1; usize::from(ends)], "{kind} {flags}");
            }
        }
    }

    #[test]
    fn another_frame_goes_between_two_but_never_into_a_list_of_fields() {
        let mut scan = FrameScan::of_server();
        let mut bytes = frame(DATA, 0, 3);
        bytes.extend(frame(HEADERS, END_STREAM, 2));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1));
        let gaps: Vec<usize> = (0..=bytes.len())
            .filter(|n| {
                if *n > 0 {
                    scan.step(&bytes[n - 1..*n], |_| {});
                }
                scan.to_gap() == 0
            })
            .collect();
        assert_eq!(gaps, [0, 12, bytes.len()]);
    }

    #[test]
    fn a_small_table_is_seen_wherever_it_stands() {
        for (id, value, small) in [(1, 4095, true), (1, 4096, false), (3, 0, false)] {
            let mut bytes = frame(SETTINGS, 0, 12);
            bytes[HEAD..HEAD + 6].copy_from_slice(&[0, 4, 0, 0, 0, 0]);
            bytes[HEAD + 6..HEAD + 8].copy_from_slice(&u16::to_be_bytes(id));
            bytes[HEAD + 8..].copy_from_slice(&u32::to_be_bytes(value));
            let mut scan = FrameScan::of_server();
            let seen = bytes.iter().any(|b| scan.step(&[*b], |_| {}).small_table);
            assert_eq!(seen, small, "{id} {value}");
        }
    }
}
