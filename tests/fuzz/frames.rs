//! HTTP/2 frames: what is counted of a connection is what is there, however its bytes are cut.

use fileproxy::path::http2::frame_scan::{FrameScan, Passed};

/// A frame's head, and what a client says before its first frame (RFC 9113 §3.4, §4.1).
const HEAD: usize = 9;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const TARGET: crate::Target = crate::Target {
    name: "frames",
    words: WORDS,
    check,
};

const WORDS: &[&str] = &[
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\0\0\0\x04\x01\0\0\0\0",
    "\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0",
    "\0\0\0\0\x01\0\0\0\x01",
    "\0\0\x01\x01\0\0\0\0\x01x",
    "\0\0\0\x09\x04\0\0\0\x01",
    "\0\0\x04\x03\0\0\0\0\x03\0\0\0\x08",
    "\0\0\x05\0\x08\0\0\0\x01\x04pppp",
];

/// What is found in a server's bytes.
#[derive(Debug, Default, PartialEq)]
struct Found {
    frames: u64,
    data: u64,
    small_table: bool,
    ended: Vec<u32>,
    gap: usize,
}

fn scan(mut scan: FrameScan, pieces: &[&[u8]]) -> Found {
    let mut found = Found::default();
    for piece in pieces {
        let Passed {
            frames,
            data,
            small_table,
        } = scan.step(piece, |stream| found.ended.push(stream));
        found.frames += frames;
        found.data += data;
        found.small_table |= small_table;
    }
    found.gap = scan.to_gap();
    found
}

/// The frames, read from bytes that are all there; the last may be cut.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, u32, usize, &[u8])> {
    let mut frames = Vec::new();
    while let Some((head, behind)) = bytes.split_at_checked(HEAD) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let payload = &behind[..length.min(behind.len())];
        frames.push((head[3], head[4], stream, length, payload));
        bytes = &behind[payload.len()..];
    }
    frames
}

fn check(bytes: &[u8]) {
    let found = scan(FrameScan::of_server(), &[bytes]);
    for pieces in crate::cuts(bytes) {
        assert_eq!(scan(FrameScan::of_server(), &pieces), found);
        let client: Vec<_> = [PREFACE].into_iter().chain(pieces).collect();
        assert_eq!(scan(FrameScan::of_client(), &client), found);
    }

    let frames = frames(bytes);
    assert_eq!(found.frames, frames.len() as u64);
    let data = |(kind, flags, _, length, _): &(u8, u8, u32, usize, &[u8])| match (kind, flags & 8) {
        (0, 0) => (*length, *length),
        (0, _) => (0, *length),
        _ => (0, 0),
    };
    let least: usize = frames.iter().map(|frame| data(frame).0).sum();
    let most: usize = frames.iter().map(|frame| data(frame).1).sum();
    assert!((least as u64..=most as u64).contains(&found.data));
    let ended: Vec<u32> = frames
        .iter()
        .filter(|(kind, flags, _, length, payload)| {
            let is_last = *kind == 3 || *kind <= 1 && flags & 1 != 0;
            is_last && payload.len() == *length
        })
        .map(|(_, _, stream, ..)| *stream)
        .collect();
    assert_eq!(found.ended, ended);
    let small = frames
        .iter()
        .filter(|(kind, flags, ..)| *kind == 4 && flags & 1 == 0)
        .flat_map(|(.., payload)| payload.chunks_exact(6))
        .any(|s| s[..2] == [0, 1] && u32::from_be_bytes([s[2], s[3], s[4], s[5]]) < 4096);
    assert_eq!(found.small_table, small);

    // Another frame fits where one is whole and no list of fields is open; as many bytes as are told lead no further than
    // to such a place.
    let mut one_by_one = FrameScan::of_server();
    let mut at = 0;
    let mut open = false;
    for (kind, flags, _, length, _) in &frames {
        assert_eq!(one_by_one.to_gap() == 0, !open);
        if matches!(kind, 1 | 9) {
            open = flags & 4 == 0;
        }
        let end = (at + HEAD + length).min(bytes.len());
        while at < end {
            let most = one_by_one.to_gap().max(1);
            assert!(most <= HEAD + length, "{most} bytes lead past the frame");
            let piece = &bytes[at..end.min(at + most)];
            one_by_one.step(piece, |_| {});
            at += piece.len();
        }
    }
}
