//! The bytes of one stored body: some intervals are here, others are being fetched, the rest is missing.
//!
//! Readers have no leader. Each asks for the byte it needs next, and learns one of four things: here it is, wait (a fill will bring
//! it), fetch it (no fill will), or this is the end. Only the framing of a complete response defines the end: an aborted fill
//! leaves its bytes and the rest missing, but never an end.

use std::{
    collections::BTreeMap,
    ops::Range,
    task::{Context, Waker},
};

use bytes::{Bytes, BytesMut};

/// Pieces are joined up to this size, aligned to multiples of it.
pub const BLOCK: u64 = 64 * 1024;

/// A piece of at least this size is kept as received: joining would only copy it.
const LARGE: usize = 16 * 1024;

/// What a reader finds at its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The bytes from there on, up to the end of one piece.
    Piece(Bytes),
    /// The bytes up to there are on disk and must be loaded. Returned by an object, never by a body itself.
    Stored(Range<u64>),
    /// A fill will bring the byte: the reader is woken when it is here, or the fill has ended.
    Wait,
    /// No fill brings it. The gap ends at the next byte that is here or being fetched, or at the end of the body.
    Missing(Range<u64>),
    /// Behind the end of the body.
    End,
    /// It can no longer be fetched: the body has no validator, and its only response failed.
    Broken,
}

/// Bytes, fills and waiting readers of one body.
#[derive(Debug, Default)]
pub struct Body {
    /// Complete length, once known.
    length: Option<u64>,
    /// The bytes that are here, by their position.
    pieces: BTreeMap<u64, Bytes>,
    /// What is being fetched, by the fill's number.
    fills: BTreeMap<u64, Fill>,
    next_fill: u64,
    waiting: Vec<(u64, Waker)>,
    broken: bool,
    /// Bytes in pieces and fills.
    held: u64,
}

/// A range that is being fetched.
#[derive(Debug)]
struct Fill {
    /// Bytes that are joined, but in no piece yet. They end at `next`.
    gathered: BytesMut,
    /// Position of the next byte to arrive.
    next: u64,
    /// Position behind the last requested byte; none: up to an unknown end.
    end: Option<u64>,
    /// Whether the origin has confirmed that it sends these bytes.
    is_sure: bool,
}

impl Fill {
    /// Position of the first byte that is in no piece yet.
    fn begin(&self) -> u64 {
        self.next - self.gathered.len() as u64
    }

    /// Turns the joined bytes into a piece.
    fn flush(&mut self, pieces: &mut BTreeMap<u64, Bytes>) {
        if !self.gathered.is_empty() {
            let begin = self.begin();
            // Copied, so that the piece takes what it holds: a buffer that grew has up to as much room again.
            pieces.insert(begin, Bytes::copy_from_slice(&self.gathered));
            self.gathered.clear();
        }
    }

    fn covers(&self, at: u64) -> bool {
        self.begin() <= at && self.end.is_none_or(|end| at < end)
    }
}

impl Body {
    /// A body with this length, if known.
    pub fn new(length: Option<u64>) -> Self {
        Body {
            length,
            ..Body::default()
        }
    }

    /// Complete length, once known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Bytes held in memory.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Whether the whole body is here.
    pub fn is_whole(&self) -> bool {
        self.length == Some(self.held)
    }

    /// Whether a fill is under way.
    pub fn is_filling(&self) -> bool {
        !self.fills.is_empty()
    }

    /// Whether the byte at `at` is being fetched.
    pub fn is_filling_at(&self, at: u64) -> bool {
        self.fills.values().any(|fill| fill.covers(at))
    }

    /// What is at `at`. For [`Found::Wait`], the task of `cx` is woken when that changes.
    pub fn read(&mut self, at: u64, cx: &mut Context<'_>) -> Found {
        if self.length.is_some_and(|length| at >= length) {
            return Found::End;
        }
        if let Some((&begin, piece)) = self.pieces.range(..=at).next_back() {
            let inside = at - begin;
            if inside < piece.len() as u64 {
                return Found::Piece(piece.slice(inside as usize..));
            }
        }
        if let Some(fill) = self.fills.values().find(|fill| fill.covers(at)) {
            if at < fill.next {
                let inside = (at - fill.begin()) as usize;
                return Found::Piece(Bytes::copy_from_slice(&fill.gathered[inside..]));
            }
            self.waiting.push((at, cx.waker().clone()));
            return Found::Wait;
        }
        if self.broken {
            return Found::Broken;
        }
        Found::Missing(at..self.gap_end(at))
    }

    /// Wakes the task of `cx` when the byte at `at` is here, or its fill has ended.
    pub fn wait(&mut self, at: u64, cx: &mut Context<'_>) {
        self.waiting.push((at, cx.waker().clone()));
    }

    /// Returns the wakers of tasks that wait for a byte of `part`.
    #[must_use]
    pub fn wake(&mut self, part: Range<u64>) -> Vec<Waker> {
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(at, _)| part.contains(at));
        self.waiting = waiting;
        let ready: Vec<_> = ready;
        ready.into_iter().map(|(_, waker)| waker).collect()
    }

    /// Stores bytes loaded from disk where they are neither here nor being fetched; returns how many.
    pub fn put(&mut self, begin: u64, bytes: &Bytes) -> u64 {
        let end = begin + bytes.len() as u64;
        let mut at = begin;
        let mut taken = 0;
        while at < end {
            let here = self.pieces.range(..=at).next_back();
            let here = here.map(|(&begin, piece)| begin + piece.len() as u64);
            let coming = self.fills.values().filter(|fill| fill.covers(at));
            let coming = coming.map(|fill| fill.end.unwrap_or(u64::MAX)).max();
            if let Some(next) = here.max(coming).filter(|&next| next > at) {
                at = next;
                continue;
            }
            let next = self.gap_end(at).min(end);
            let part = bytes.slice((at - begin) as usize..(next - begin) as usize);
            self.pieces.insert(at, part);
            taken += next - at;
            at = next;
        }
        self.held += taken;
        taken
    }

    /// All bytes of a block in order; none unless the block is complete.
    pub fn block(&self, number: u64) -> Option<Vec<Bytes>> {
        let begin = number * BLOCK;
        let end = (begin + BLOCK).min(self.length.unwrap_or(u64::MAX));
        if begin >= end {
            return None;
        }
        let mut pieces = Vec::new();
        let mut at = begin;
        // No piece crosses a block boundary.
        for (&begin, piece) in self.pieces.range(begin..end) {
            if begin != at {
                return None;
            }
            at += piece.len() as u64;
            pieces.push(piece.clone());
        }
        (at == end).then_some(pieces)
    }

    /// End of the gap that contains `at`. `u64::MAX` for an unknown end of the body.
    fn gap_end(&self, at: u64) -> u64 {
        let piece = self.pieces.range(at..).next().map(|(&begin, _)| begin);
        let fill = (self.fills.values())
            .map(Fill::begin)
            .filter(|&begin| begin > at)
            .min();
        let known = [piece, fill, self.length];
        known.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Begins to fetch `part`, cut to the gap at its start; returns the fill's number. An end of `u64::MAX` is unknown. None if its
    /// first byte is here or being fetched.
    pub fn begin(&mut self, part: Range<u64>) -> Option<u64> {
        let here = self.pieces.range(..=part.start).next_back();
        let is_here = here.is_some_and(|(&begin, piece)| part.start < begin + piece.len() as u64);
        let is_coming = self.fills.values().any(|fill| fill.covers(part.start));
        if is_here || is_coming || self.length.is_some_and(|length| part.start >= length) {
            return None;
        }
        let end = self.gap_end(part.start).min(part.end);
        let number = self.next_fill;
        self.next_fill += 1;
        self.fills.insert(
            number,
            Fill {
                gathered: BytesMut::new(),
                next: part.start,
                end: (end < u64::MAX).then_some(end),
                is_sure: false,
            },
        );
        Some(number)
    }

    /// The origin has confirmed that it sends a fill's range.
    pub fn confirm(&mut self, fill: u64) {
        if let Some(fill) = self.fills.get_mut(&fill) {
            fill.is_sure = true;
        }
    }

    /// Up to which position, from `at` on, bytes are here or confirmed; none if the byte at `at` is neither. `u64::MAX` for an
    /// unknown end.
    pub fn sure_to(&self, at: u64) -> Option<u64> {
        let here = self.pieces.range(..=at).next_back();
        let here = here.map(|(&begin, piece)| begin + piece.len() as u64);
        let fills = self.fills.values().filter(|fill| fill.covers(at));
        let coming = fills.map(|fill| match fill.is_sure {
            true => fill.end.unwrap_or(u64::MAX),
            false => fill.next,
        });
        here.max(coming.max()).filter(|&end| end > at)
    }

    /// The range that a fill must still fetch; none if complete.
    pub fn left(&self, fill: u64) -> Option<Range<u64>> {
        let fill = self.fills.get(&fill)?;
        let end = fill.end.unwrap_or(u64::MAX);
        (fill.next < end).then_some(fill.next..end)
    }

    /// Position of a fill's next byte; 0 if there is no such fill.
    pub fn end_of(&self, fill: u64) -> u64 {
        self.fills.get(&fill).map_or(0, |fill| fill.next)
    }

    /// All complete blocks.
    pub fn blocks(&self) -> Vec<(u64, Vec<Bytes>)> {
        let mut numbers: Vec<_> = self.pieces.keys().map(|begin| begin / BLOCK).collect();
        numbers.dedup();
        let blocks = numbers.into_iter();
        let blocks = blocks.filter_map(|number| Some((number, self.block(number)?)));
        blocks.collect()
    }

    /// Adds bytes from a fill; bytes beyond its range are dropped. Returns the wakers of readers.
    #[must_use]
    pub fn write(&mut self, number: u64, mut piece: Bytes) -> Vec<Waker> {
        let Some(fill) = self.fills.get_mut(&number) else {
            return Vec::new();
        };
        if let Some(end) = fill.end {
            piece.truncate(usize::try_from(end - fill.next).unwrap_or(usize::MAX));
        }
        let len = piece.len() as u64;
        if len == 0 {
            return Vec::new();
        }
        // Cut at block boundaries, because blocks are evicted and written to disk separately.
        while !piece.is_empty() {
            let room = BLOCK - fill.next % BLOCK;
            let part = piece.split_to(piece.len().min(room as usize));
            let is_large = part.len() >= LARGE;
            if is_large {
                fill.flush(&mut self.pieces);
                fill.next += part.len() as u64;
                self.pieces.insert(fill.next - part.len() as u64, part);
            } else {
                fill.next += part.len() as u64;
                fill.gathered.extend_from_slice(&part);
            }
            if fill.next.is_multiple_of(BLOCK) || fill.end == Some(fill.next) {
                fill.flush(&mut self.pieces);
            }
        }
        self.held += len;
        let next = fill.next;
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(at, _)| *at < next && *at >= next - len);
        self.waiting = waiting;
        Vec::from_iter(ready)
            .into_iter()
            .map(|(_, waker)| waker)
            .collect()
    }

    /// Ends a fill. `complete`: its response ended by its own framing, at the end of the body. Returns all wakers: what is missing
    /// is fetched by whoever needs it.
    #[must_use]
    pub fn end(&mut self, number: u64, complete: bool) -> Vec<Waker> {
        if let Some(mut fill) = self.fills.remove(&number) {
            fill.flush(&mut self.pieces);
            if complete && self.length.is_none() {
                self.length = Some(fill.next);
            }
        }
        self.wake_all()
    }

    /// Marks missing bytes as unavailable for good.
    #[must_use]
    pub fn give_up(&mut self) -> Vec<Waker> {
        self.broken = true;
        self.wake_all()
    }

    fn wake_all(&mut self) -> Vec<Waker> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|(_, waker)| waker).collect()
    }

    /// Drops pieces that lie completely in `part`; returns the number of bytes.
    pub fn drop_pieces(&mut self, part: Range<u64>) -> u64 {
        let gone: Vec<u64> = (self.pieces.range(part.clone()))
            .filter(|&(&begin, piece)| begin + piece.len() as u64 <= part.end)
            .map(|(&begin, _)| begin)
            .collect();
        let bytes = (gone.iter())
            .filter_map(|begin| self.pieces.remove(begin))
            .map(|piece| piece.len() as u64)
            .sum();
        self.held -= bytes;
        bytes
    }

    /// The bytes of `part` in order, if all are here.
    pub fn part(&self, part: &Range<u64>) -> Option<Vec<Bytes>> {
        let (begin, _) = self.pieces.range(..=part.start).next_back()?;
        let (mut at, mut found) = (part.start, Vec::new());
        for (&begin, piece) in self.pieces.range(*begin..part.end) {
            let end = begin + piece.len() as u64;
            if begin > at || end <= at {
                return None;
            }
            let (from, to) = (at - begin, end.min(part.end) - begin);
            found.push(piece.slice(from as usize..to as usize));
            at = begin + to;
        }
        (at == part.end).then_some(found)
    }

    /// The whole body in one piece, if all of it is here.
    pub fn whole(&self) -> Option<Bytes> {
        if !self.is_whole() {
            return None;
        }
        match self.pieces.len() {
            0 => Some(Bytes::new()),
            1 => self.pieces.values().next().cloned(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::Wake,
    };

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_part_is_given_in_order_or_not_at_all() {
        let mut body = Body::new(Some(30));
        for begin in [0, 10, 20] {
            let bytes: Vec<u8> = (begin..begin + 10).map(|at| at as u8).collect();
            body.put(begin, &Bytes::from(bytes));
        }
        let whole: Vec<u8> = (0..30).collect();
        for (from, to) in [(0, 30), (3, 7), (3, 12), (10, 20), (9, 21), (29, 30)] {
            let part = body.part(&(from..to)).unwrap().concat();
            assert_eq!(part, whole[from as usize..to as usize], "{from}..{to}");
        }
        body.drop_pieces(10..20);
        assert_eq!(body.part(&(0..30)), None);
        assert_eq!(body.part(&(5..11)), None);
        assert_eq!(body.part(&(12..25)), None);
        assert_eq!(body.part(&(0..10)).unwrap().concat(), whole[..10]);
        assert_eq!(body.part(&(25..31)), None);
    }

    fn read(body: &mut Body, at: u64) -> Found {
        body.read(at, &mut Context::from_waker(Waker::noop()))
    }

    fn byte(at: u64) -> u8 {
        (at * 7 % 251) as u8
    }

    fn bytes(part: Range<u64>) -> Bytes {
        part.map(byte).collect::<Vec<_>>().into()
    }

    fn wake(wakers: Vec<Waker>) {
        wakers.into_iter().for_each(Waker::wake);
    }

    #[test]
    fn a_fill_that_goes_away_leaves_its_bytes_and_no_end() {
        let mut body = Body::new(Some(100));
        assert_eq!(read(&mut body, 0), Found::Missing(0..100));
        let fill = body.begin(0..u64::MAX).unwrap();
        wake(body.write(fill, bytes(0..40)));
        assert_eq!(read(&mut body, 40), Found::Wait);
        wake(body.end(fill, false));
        assert_eq!(read(&mut body, 10), Found::Piece(bytes(10..40)));
        assert_eq!(read(&mut body, 40), Found::Missing(40..100));
        assert!(!body.is_whole());
    }

    #[test]
    fn a_body_without_a_length_ends_where_its_response_did() {
        let mut body = Body::new(None);
        let fill = body.begin(0..u64::MAX).unwrap();
        wake(body.write(fill, bytes(0..10)));
        assert_eq!(read(&mut body, 10), Found::Wait);
        wake(body.end(fill, true));
        assert_eq!(read(&mut body, 10), Found::End);
        assert_eq!(body.whole(), Some(bytes(0..10)));
    }

    #[test]
    fn a_fill_stops_where_something_is_here_or_on_its_way() {
        let mut body = Body::new(Some(100));
        let middle = body.begin(40..60).unwrap();
        let before = body.begin(10..100).unwrap();
        assert_eq!(body.left(before), Some(10..40));
        assert_eq!(body.begin(45..50), None);
        wake(body.write(middle, bytes(40..60)));
        wake(body.end(middle, false));
        assert_eq!(body.begin(59..70), None);
        assert_eq!(body.begin(100..101), None);
        // No byte beyond the requested end is stored.
        wake(body.write(before, bytes(10..70)));
        assert_eq!(body.left(before), None);
        assert_eq!(body.held(), 50);
    }

    #[test]
    fn who_waits_is_woken_once_and_only_when_its_byte_is_here() {
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut body = Body::new(Some(100));
        let fill = body.begin(0..100).unwrap();
        assert_eq!(body.read(50, &mut Context::from_waker(&waker)), Found::Wait);
        wake(body.write(fill, bytes(0..50)));
        assert_eq!(woken.0.load(Relaxed), 0);
        wake(body.write(fill, bytes(50..60)));
        wake(body.write(fill, bytes(60..70)));
        assert_eq!(woken.0.load(Relaxed), 1);
        assert_eq!(body.read(70, &mut Context::from_waker(&waker)), Found::Wait);
        wake(body.end(fill, false));
        assert_eq!(woken.0.load(Relaxed), 2);
    }

    #[test]
    fn what_can_come_no_more_is_broken_and_what_is_here_still_is() {
        let mut body = Body::new(None);
        let fill = body.begin(0..u64::MAX).unwrap();
        wake(body.write(fill, bytes(0..10)));
        wake(body.end(fill, false));
        wake(body.give_up());
        assert_eq!(read(&mut body, 0), Found::Piece(bytes(0..10)));
        assert_eq!(read(&mut body, 10), Found::Broken);
    }

    #[test]
    fn pieces_that_were_let_go_are_missing() {
        let mut body = Body::new(Some(4 * BLOCK));
        let fill = body.begin(0..u64::MAX).unwrap();
        for block in 0..4 {
            wake(body.write(fill, bytes(block * BLOCK..(block + 1) * BLOCK)));
        }
        wake(body.end(fill, true));
        assert!(body.is_whole());
        assert_eq!(body.drop_pieces(BLOCK..2 * BLOCK), BLOCK);
        assert_eq!(
            read(&mut body, BLOCK + 5),
            Found::Missing(BLOCK + 5..2 * BLOCK)
        );
        assert_eq!(body.held(), 3 * BLOCK);
    }

    proptest! {
        /// Whatever the order of fills, a reader gets every byte, and the right one.
        #[test]
        fn every_byte_is_the_right_one(
            length in 1_u64..200_000,
            steps in proptest::collection::vec((0_u64..200_000, 1_u64..100_000, 1_u64..40_000, any::<bool>()), 0..40),
        ) {
            let mut body = Body::new(Some(length));
            let mut open = Vec::new();
            for (from, len, piece, ends) in steps {
                if let Some(fill) = body.begin(from..from + len) {
                    open.push(fill);
                }
                if let Some(&fill) = open.last()
                    && let Some(left) = body.left(fill)
                {
                    wake(body.write(fill, bytes(left.start..left.start + piece)));
                }
                if ends && let Some(fill) = open.pop() {
                    wake(body.end(fill, false));
                }
                if ends && piece % 3 == 0 {
                    body.drop_pieces(from..from + len);
                }
            }
            for fill in open {
                wake(body.end(fill, false));
            }
            let mut at = 0;
            loop {
                match read(&mut body, at) {
                    Found::Piece(piece) => {
                        prop_assert!(!piece.is_empty());
                        for got in piece {
                            prop_assert_eq!(got, byte(at));
                            at += 1;
                        }
                    }
                    Found::Missing(gap) => {
                        prop_assert!(gap.start == at && gap.end > at && gap.end <= length);
                        let fill = body.begin(gap).unwrap();
                        let left = body.left(fill).unwrap();
                        wake(body.write(fill, bytes(left)));
                        wake(body.end(fill, false));
                    }
                    Found::End => break,
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert_eq!(at, length);
            prop_assert!(body.is_whole());
        }
    }
}
