//! Packs a segment of the stream as an MPEG transport stream (ISO/IEC 13818-1): H.264 video, silent AAC audio, padded to a constant
//! bit rate.
//!
//! A segment is a pure function of its number, and all have the same length: time stamps and continuity counters continue from the
//! previous segment.

use std::time::Duration;

use super::picture;

/// Duration of a segment.
pub const SEGMENT: Duration = Duration::from_secs(4);

/// Length of a segment in bytes: 1.5 Mbit/s.
#[cfg(test)]
const SEGMENT_LEN: usize = FRAMES * PACKETS_PER_FRAME * PACKET;

const PACKET: usize = 188;

/// Pictures in a segment: 5 per second.
const FRAMES: usize = 20;
/// Packets for one picture with its audio, tables and padding.
const PACKETS_PER_FRAME: usize = 199;

/// Ticks per second of the clock for time stamps.
const CLOCK: u64 = 90_000;
const SEGMENT_TICKS: u64 = 4 * CLOCK;
const FRAME_TICKS: u64 = SEGMENT_TICKS / FRAMES as u64;
/// Time from a packet's arrival to its presentation.
const LEAD: u64 = CLOCK * 7 / 10;

/// AAC frames in a segment: 1,024 samples each at 32 kHz make 32 ms.
const SOUNDS: usize = 125;
const SOUND_TICKS: u64 = SEGMENT_TICKS / SOUNDS as u64;

const PAT: u16 = 0;
const PMT: u16 = 0x1000;
const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;
const NULL: u16 = 0x1fff;

/// One AAC-LC frame of silence, 32 kHz, one channel, in ADTS: a header of 7 bytes, a single channel element without bands, and the
/// end.
const SILENCE: [u8; 11] = [
    0xff, 0xf1, 0x54, 0x40, 0x01, 0x7f, 0xfc, 0x00, 0x00, 0x00, 0x07,
];

/// Segment `number`, counted from 0.
pub fn segment(number: u64) -> Vec<u8> {
    let mut packets = Packets::default();
    let mut sounds_done = 0;
    for slot in 0..FRAMES {
        let begin = packets.out.len();
        let index = number * FRAMES as u64 + slot as u64;
        let time = Duration::from_millis(200) * index as u32;
        let clock = index * FRAME_TICKS;

        packets.table(PAT, &program_association());
        packets.table(PMT, &program_map());
        let picture = elementary(0xe0, clock + LEAD, &picture::frame(index, time), false);
        packets.payload(VIDEO, &picture, Some(clock));

        let sounds_due = SOUNDS * (slot + 1) / FRAMES;
        let stamp = number * SEGMENT_TICKS + sounds_done as u64 * SOUND_TICKS + LEAD;
        let sounds = SILENCE.repeat(sounds_due - sounds_done);
        packets.payload(AUDIO, &elementary(0xc0, stamp, &sounds, true), None);
        sounds_done = sounds_due;

        while packets.out.len() - begin < PACKETS_PER_FRAME * PACKET {
            packets.padding();
        }
    }
    packets.continue_from(number);
    packets.out
}

/// A PES packet (section 2.4.3.6). The length field is 0 for pictures, which may be too long for it.
fn elementary(stream: u8, stamp: u64, data: &[u8], with_len: bool) -> Vec<u8> {
    let len = if with_len { data.len() as u16 + 8 } else { 0 };
    let mut out = vec![0, 0, 1, stream];
    out.extend(len.to_be_bytes());
    out.extend([0x84, 0x80, 5]); // aligned; with a presentation time stamp, of 5 bytes
    out.push(0x21 | ((stamp >> 29) as u8 & 0x0e));
    out.push((stamp >> 22) as u8);
    out.push((stamp >> 14) as u8 | 1);
    out.push((stamp >> 7) as u8);
    out.push((stamp << 1) as u8 | 1);
    out.extend(data);
    out
}

fn program_association() -> Vec<u8> {
    let [high, low] = PMT.to_be_bytes();
    // table 0, length 13, transport stream 1, version 0, section 0 of 0; program 1 is described in PMT
    section(&[0x00, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | high, low])
}

fn program_map() -> Vec<u8> {
    let [video, audio] = [VIDEO.to_be_bytes(), AUDIO.to_be_bytes()];
    section(&[
        0x02,
        0xb0,
        23,
        0,
        1,
        0xc1,
        0,
        0, // table 2, length 23, program 1
        0xe0 | video[0],
        video[1],
        0xf0,
        0, // its clock is with the video; no descriptors
        0x1b,
        0xe0 | video[0],
        video[1],
        0xf0,
        0, // H.264
        0x0f,
        0xe0 | audio[0],
        audio[1],
        0xf0,
        0, // AAC in ADTS
    ])
}

/// A table's section with its CRC.
fn section(body: &[u8]) -> Vec<u8> {
    let mut out = body.to_vec();
    out.extend(crc32(body).to_be_bytes());
    out
}

/// CRC-32 of annex A: polynomial 0x04c11db7, not reflected, begun with ones.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc >> 31 == 1 {
                crc << 1 ^ 0x04c1_1db7
            } else {
                crc << 1
            }
        })
    })
}

#[derive(Default)]
struct Packets {
    out: Vec<u8>,
}

impl Packets {
    fn header(&mut self, pid: u16, starts_unit: bool, adapts: bool) {
        let [high, low] = pid.to_be_bytes();
        let adaptation = if adapts { 0x30 } else { 0x10 };
        self.out
            .extend([0x47, u8::from(starts_unit) << 6 | high, low, adaptation]);
    }

    /// A table that fits in one packet.
    fn table(&mut self, pid: u16, section: &[u8]) {
        let end = self.out.len() + PACKET;
        self.header(pid, true, false);
        self.out.push(0); // the section begins at once
        self.out.extend(section);
        self.out.resize(end, 0xff);
    }

    /// Splits `data` over packets, the first with the program's `clock`.
    fn payload(&mut self, pid: u16, data: &[u8], clock: Option<u64>) {
        let mut rest = data;
        let mut clock = clock;
        let mut starts = true;
        while !rest.is_empty() {
            let mut adaptation = clock.take().map_or(Vec::new(), clock_reference);
            let room = PACKET - 4 - adaptation.len();
            if rest.len() < room {
                stuff(&mut adaptation, room - rest.len());
            }
            let take = PACKET - 4 - adaptation.len();
            self.header(pid, starts, !adaptation.is_empty());
            self.out.extend(&adaptation);
            self.out.extend(&rest[..take]);
            rest = &rest[take..];
            starts = false;
        }
    }

    fn padding(&mut self) {
        let end = self.out.len() + PACKET;
        self.header(NULL, false, false);
        self.out.resize(end, 0xff);
    }

    /// Sets each packet's continuity counter as if segments 0 to `number` - 1 had preceded it.
    fn continue_from(&mut self, number: u64) {
        for pid in [PAT, PMT, VIDEO, AUDIO] {
            let of_pid =
                |packet: &&mut [u8]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) == pid;
            let count = self.out.chunks_exact_mut(PACKET).filter(of_pid).count() as u64;
            let packets = self.out.chunks_exact_mut(PACKET).filter(of_pid);
            for (index, packet) in packets.enumerate() {
                packet[3] |= ((number * count + index as u64) % 16) as u8;
            }
        }
    }
}

/// An adaptation field with the program clock reference.
fn clock_reference(clock: u64) -> Vec<u8> {
    vec![
        7,
        0x50, // a random access point, with the clock
        (clock >> 25) as u8,
        (clock >> 17) as u8,
        (clock >> 9) as u8,
        (clock >> 1) as u8,
        (clock << 7) as u8 | 0x7e,
        0,
    ]
}

/// Extends an adaptation field, or creates it, by `by` bytes.
fn stuff(adaptation: &mut Vec<u8>, by: usize) {
    let len = adaptation.len() + by;
    if adaptation.is_empty() {
        adaptation.push(0);
        if len > 1 {
            adaptation.push(0); // no flags
        }
    }
    adaptation.resize(len, 0xff);
    adaptation[0] = len as u8 - 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segment_has_one_length_and_whole_packets() {
        for number in [0, 1, 149] {
            let segment = segment(number);
            assert_eq!(segment.len(), SEGMENT_LEN);
            assert!(segment.chunks(PACKET).all(|packet| packet[0] == 0x47));
        }
    }

    #[test]
    fn the_rate_is_a_megabit_and_a_half() {
        let rate = SEGMENT_LEN as f64 * 8.0 / SEGMENT.as_secs_f64();
        assert!((1.49e6..1.51e6).contains(&rate), "{rate}");
    }

    #[test]
    fn continuity_counters_run_on_over_segments() {
        let bytes = [segment(6), segment(7)].concat();
        for pid in [PAT, PMT, VIDEO, AUDIO] {
            let counters: Vec<_> = bytes
                .chunks(PACKET)
                .filter(|p| u16::from_be_bytes([p[1] & 0x1f, p[2]]) == pid)
                .map(|p| p[3] & 15)
                .collect();
            assert!(
                counters.windows(2).all(|w| w[1] == (w[0] + 1) % 16),
                "{pid:#x}"
            );
        }
    }

    #[test]
    fn the_crc_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }
}
