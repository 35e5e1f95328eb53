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

/// Most bytes that a reader gets at once of those that are in no piece yet: they are copied for it.
const COPIED: usize = 16 * 1024;

/// What a reader finds at its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The bytes from there on, up to the end of one piece.
    Piece(Bytes),
    /// The bytes up to there are on disk and must be loaded. Returned by an object, never by a body itself.
    Stored(Range<u64>),
    /// A fill will bring the byte: the reader is woken when it is here, or the fill has ended. The number is that of the bytes before
    /// it that the fill still lacks: over one connection all of them come first, over several perhaps not.
    Wait(u64),
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

/// A range that is being fetched. Its bytes may arrive in any order.
#[derive(Debug)]
struct Fill {
    /// What has not arrived: each range's end by its begin. An unknown end is `u64::MAX`.
    missing: BTreeMap<u64, u64>,
    /// Bytes that are joined, but in no piece yet, by the position behind them, which is missing: what comes there is joined to them,
    /// in a buffer with room for the rest of their block.
    gathered: BTreeMap<u64, BytesMut>,
    /// Whether the origin has confirmed that it sends these bytes.
    is_sure: bool,
}

impl Fill {
    /// The end of the missing range that contains `at`.
    fn missing_to(&self, at: u64) -> Option<u64> {
        let (_, &end) = self.missing.range(..=at).next_back()?;
        (at < end).then_some(end)
    }

    /// The number of bytes before `at` that are missing, if the one there is.
    fn missing_before(&self, at: u64) -> Option<u64> {
        self.missing_to(at)?;
        let ranges = self.missing.range(..=at);
        Some(ranges.map(|(&begin, &end)| end.min(at) - begin).sum())
    }

    /// The first missing range in `part`.
    fn missing_in(&self, part: Range<u64>) -> Option<Range<u64>> {
        let begin = match self.missing_to(part.start) {
            Some(_) => part.start,
            None => *self.missing.range(part.start..).next()?.0,
        };
        let end = self.missing_to(begin)?.min(part.end);
        (begin < end).then_some(begin..end)
    }

    /// Takes `part`, which lies in one missing range, out of it.
    fn came(&mut self, part: &Range<u64>) {
        let Some((&begin, &end)) = self.missing.range(..=part.start).next_back() else {
            return;
        };
        self.missing.remove(&begin);
        if begin < part.start {
            self.missing.insert(begin, part.start);
        }
        if part.end < end {
            self.missing.insert(part.end, end);
        }
    }

    /// The joined bytes from `at` on.
    fn gathered_from(&self, at: u64) -> Option<&[u8]> {
        let (&end, bytes) = self.gathered.range(at.saturating_add(1)..).next()?;
        let inside = at.checked_sub(end - bytes.len() as u64)?;
        bytes.get(usize::try_from(inside).ok()?..)
    }

    /// Adds bytes at `at` that are not missing any more. They are cut at block boundaries, because blocks are evicted and written to
    /// disk separately, and copied: the buffer that they were read into may be far larger than they are.
    fn add(&mut self, mut at: u64, mut bytes: Bytes, pieces: &mut BTreeMap<u64, Bytes>) {
        while !bytes.is_empty() {
            let room = BLOCK - at % BLOCK;
            let part = bytes.split_to(bytes.len().min(room as usize));
            let next = at + part.len() as u64;
            let end = self.missing_to(next).unwrap_or(next);
            let begun = self.gathered.remove(&at);
            let new = || BytesMut::with_capacity(room.min(end - at) as usize);
            let mut gathered = begun.unwrap_or_else(new);
            gathered.extend_from_slice(&part);
            self.gathered.insert(next, gathered);
            if next.is_multiple_of(BLOCK) || next == end {
                self.flush(next, pieces);
            }
            at = next;
        }
    }

    /// Turns the joined bytes before `end` into a piece.
    fn flush(&mut self, end: u64, pieces: &mut BTreeMap<u64, Bytes>) {
        if let Some(bytes) = self.gathered.remove(&end) {
            let begin = end - bytes.len() as u64;
            let piece = match bytes.capacity() == bytes.len() {
                true => bytes.freeze(),
                // Copied, so that the piece takes what it holds: there was room for the rest of the block.
                false => Bytes::copy_from_slice(&bytes),
            };
            pieces.insert(begin, piece);
        }
    }

    /// Where the missing range or the joined bytes that contain `at` end.
    fn covers_to(&self, at: u64) -> Option<u64> {
        let gathered = || Some(at + self.gathered_from(at)?.len() as u64);
        self.missing_to(at).or_else(gathered)
    }

    /// Where its first missing range or joined bytes behind `at` begin.
    fn next(&self, at: u64) -> Option<u64> {
        let missing = self.missing.range(at..).map(|(&begin, _)| begin);
        let gathered = self.gathered.range(at..);
        let gathered = gathered.map(|(&end, bytes)| end - bytes.len() as u64);
        missing.chain(gathered).filter(|&begin| begin > at).min()
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
        self.fills.values().any(|fill| fill.covers_to(at).is_some())
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
        if let Some(gathered) = self.fills.values().find_map(|fill| fill.gathered_from(at)) {
            let some = &gathered[..gathered.len().min(COPIED)];
            return Found::Piece(Bytes::copy_from_slice(some));
        }
        let before = |fill: &Fill| fill.missing_before(at);
        if let Some(before) = self.fills.values().find_map(before) {
            self.wait(at, cx);
            return Found::Wait(before);
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
            let coming = self.fills.values().filter_map(|fill| fill.covers_to(at));
            let coming = coming.max();
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
        let fill = self.fills.values().filter_map(|fill| fill.next(at)).min();
        let known = [piece, fill, self.length];
        known.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Begins to fetch `part`, cut to the gap at its start; returns the fill's number. An end of `u64::MAX` is unknown. None if its
    /// first byte is here or being fetched.
    pub fn begin(&mut self, part: Range<u64>) -> Option<u64> {
        let here = self.pieces.range(..=part.start).next_back();
        let is_here = here.is_some_and(|(&begin, piece)| part.start < begin + piece.len() as u64);
        if is_here
            || self.is_filling_at(part.start)
            || self.length.is_some_and(|length| part.start >= length)
        {
            return None;
        }
        let end = self.gap_end(part.start).min(part.end);
        let number = self.next_fill;
        self.next_fill += 1;
        self.fills.insert(
            number,
            Fill {
                missing: BTreeMap::from([(part.start, end)]),
                gathered: BTreeMap::new(),
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
        let coming = self.fills.values().filter_map(|fill| {
            let is_sure = fill.is_sure || fill.missing_to(at).is_none();
            fill.covers_to(at).filter(|_| is_sure)
        });
        here.max(coming.max()).filter(|&end| end > at)
    }

    /// From the first to the last byte that a fill must still fetch; none if complete.
    pub fn left(&self, fill: u64) -> Option<Range<u64>> {
        let missing = &self.fills.get(&fill)?.missing;
        Some(*missing.first_key_value()?.0..*missing.last_key_value()?.1)
    }

    /// All complete blocks.
    pub fn blocks(&self) -> Vec<(u64, Vec<Bytes>)> {
        let mut numbers: Vec<_> = self.pieces.keys().map(|begin| begin / BLOCK).collect();
        numbers.dedup();
        let blocks = numbers.into_iter();
        let blocks = blocks.filter_map(|number| Some((number, self.block(number)?)));
        blocks.collect()
    }

    /// Adds bytes of a fill at their position; those that it does not fetch, or that came before, are dropped. Returns the wakers of
    /// readers.
    #[must_use]
    pub fn write(&mut self, fill: u64, at: u64, bytes: &Bytes) -> Vec<Waker> {
        let end = at + bytes.len() as u64;
        if let Some(fill) = self.fills.get_mut(&fill) {
            while let Some(part) = fill.missing_in(at..end) {
                fill.came(&part);
                self.held += part.end - part.start;
                let bytes = bytes.slice((part.start - at) as usize..(part.end - at) as usize);
                fill.add(part.start, bytes, &mut self.pieces);
            }
        }
        self.wake(at..end)
    }

    /// A fill does not bring `part` after all. Returns the wakers of readers: they find it missing.
    #[must_use]
    pub fn pass(&mut self, fill: u64, part: Range<u64>) -> Vec<Waker> {
        if let Some(fill) = self.fills.get_mut(&fill) {
            while let Some(missing) = fill.missing_in(part.clone()) {
                fill.came(&missing);
                fill.flush(missing.start, &mut self.pieces);
            }
        }
        self.wake(part)
    }

    /// Ends a fill. `complete`: its response ended by its own framing, at the end of the body. Returns all wakers: what is missing
    /// is fetched by whoever needs it.
    #[must_use]
    pub fn end(&mut self, number: u64, complete: bool) -> Vec<Waker> {
        if let Some(mut fill) = self.fills.remove(&number) {
            while let Some((&end, _)) = fill.gathered.first_key_value() {
                fill.flush(end, &mut self.pieces);
            }
            if complete && self.length.is_none() {
                self.length = fill.missing.last_key_value().map(|(&begin, _)| begin);
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

    /// Drops pieces, and joined bytes, that lie completely in `part`; returns the number of bytes.
    pub fn drop_pieces(&mut self, part: Range<u64>) -> u64 {
        let gone: Vec<u64> = (self.pieces.range(part.clone()))
            .filter(|&(&begin, piece)| begin + piece.len() as u64 <= part.end)
            .map(|(&begin, _)| begin)
            .collect();
        let mut bytes = (gone.iter())
            .filter_map(|begin| self.pieces.remove(begin))
            .map(|piece| piece.len() as u64)
            .sum();
        for fill in self.fills.values_mut() {
            fill.gathered.retain(|&end, gathered| {
                let len = gathered.len() as u64;
                let is_gone = part.start <= end - len && end <= part.end;
                bytes += if is_gone { len } else { 0 };
                !is_gone
            });
        }
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
    fn a_body_of_a_block_is_one_piece_however_it_comes() {
        for piece in [1400, 8 * 1024, 16 * 1024, 30_000] {
            for length in [Some(40_000), None] {
                let bytes = Bytes::from((0..40_000_u32).map(|i| i as u8).collect::<Vec<_>>());
                let mut body = Body::new(length);
                let fill = body.begin(0..length.unwrap_or(u64::MAX)).unwrap();
                for at in (0..40_000).step_by(piece) {
                    let part = bytes.slice(at..bytes.len().min(at + piece));
                    drop(body.write(fill, at as u64, &part));
                }
                drop(body.end(fill, true));
                assert_eq!(body.whole(), Some(bytes), "{piece} {length:?}");
            }
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
        wake(body.write(fill, 0, &bytes(0..40)));
        assert_eq!(read(&mut body, 40), Found::Wait(0));
        wake(body.end(fill, false));
        assert_eq!(read(&mut body, 10), Found::Piece(bytes(10..40)));
        assert_eq!(read(&mut body, 40), Found::Missing(40..100));
        assert!(!body.is_whole());
    }

    #[test]
    fn a_body_without_a_length_ends_where_its_response_did() {
        let mut body = Body::new(None);
        let fill = body.begin(0..u64::MAX).unwrap();
        wake(body.write(fill, 0, &bytes(0..10)));
        assert_eq!(read(&mut body, 10), Found::Wait(0));
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
        wake(body.write(middle, 40, &bytes(40..60)));
        wake(body.end(middle, false));
        assert_eq!(body.begin(59..70), None);
        assert_eq!(body.begin(100..101), None);
        // No byte beyond the requested end is stored.
        wake(body.write(before, 10, &bytes(10..70)));
        assert_eq!(body.left(before), None);
        assert_eq!(body.held(), 50);
    }

    #[test]
    fn who_waits_is_woken_once_and_only_when_its_byte_is_here() {
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut body = Body::new(Some(100));
        let fill = body.begin(0..100).unwrap();
        assert_eq!(
            body.read(50, &mut Context::from_waker(&waker)),
            Found::Wait(50)
        );
        wake(body.write(fill, 0, &bytes(0..50)));
        assert_eq!(woken.0.load(Relaxed), 0);
        wake(body.write(fill, 50, &bytes(50..60)));
        wake(body.write(fill, 60, &bytes(60..70)));
        assert_eq!(woken.0.load(Relaxed), 1);
        assert_eq!(
            body.read(70, &mut Context::from_waker(&waker)),
            Found::Wait(0)
        );
        wake(body.end(fill, false));
        assert_eq!(woken.0.load(Relaxed), 2);
    }

    #[test]
    fn what_can_come_no_more_is_broken_and_what_is_here_still_is() {
        let mut body = Body::new(None);
        let fill = body.begin(0..u64::MAX).unwrap();
        wake(body.write(fill, 0, &bytes(0..10)));
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
            let part = block * BLOCK..(block + 1) * BLOCK;
            wake(body.write(fill, part.start, &bytes(part)));
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

    #[test]
    fn what_comes_early_is_read_at_once_and_what_is_before_it_is_waited_for() {
        let mut body = Body::new(Some(300_000));
        let fill = body.begin(0..u64::MAX).unwrap();
        wake(body.write(fill, 100_000, &bytes(100_000..110_000)));
        wake(body.write(fill, 250_000, &bytes(250_000..300_000)));
        assert_eq!(read(&mut body, 0), Found::Wait(0));
        assert_eq!(
            read(&mut body, 100_000),
            Found::Piece(bytes(100_000..110_000))
        );
        assert_eq!(read(&mut body, 110_000), Found::Wait(100_000));
        assert_eq!(body.left(fill), Some(0..250_000));
        // It is joined to what comes before it, and to what comes behind it.
        wake(body.write(fill, 110_000, &bytes(110_000..250_000)));
        wake(body.end(fill, false));
        assert_eq!(read(&mut body, 0), Found::Missing(0..100_000));
        let fill = body.begin(0..u64::MAX).unwrap();
        assert_eq!(body.left(fill), Some(0..100_000));
        wake(body.write(fill, 0, &bytes(0..300_000)));
        assert!(body.is_whole() && body.left(fill).is_none());
        let all = body.part(&(0..300_000)).unwrap().concat();
        assert!(all == bytes(0..300_000));
    }

    #[test]
    fn what_was_let_go_of_a_fill_under_way_is_missing_and_not_waited_for() {
        let mut body = Body::new(Some(4 * BLOCK));
        let fill = body.begin(0..u64::MAX).unwrap();
        body.confirm(fill);
        // A whole block, and the begin of another one.
        wake(body.write(fill, BLOCK, &bytes(BLOCK..2 * BLOCK + 100)));
        assert_eq!(body.sure_to(BLOCK), Some(2 * BLOCK));
        assert_eq!(body.drop_pieces(BLOCK..3 * BLOCK), BLOCK + 100);
        assert_eq!(body.held(), 0);
        assert_eq!(
            read(&mut body, BLOCK),
            Found::Missing(BLOCK..2 * BLOCK + 100)
        );
        assert_eq!(body.sure_to(BLOCK), None);
        assert_eq!(read(&mut body, 2 * BLOCK + 100), Found::Wait(BLOCK));
        // The fill does not bring it again, whatever comes.
        wake(body.write(fill, 0, &bytes(0..4 * BLOCK)));
        assert_eq!(body.left(fill), None);
        assert_eq!(body.held(), 3 * BLOCK - 100);
        let other = body.begin(BLOCK..u64::MAX).unwrap();
        assert_eq!(body.left(other), Some(BLOCK..2 * BLOCK + 100));
    }

    #[test]
    fn what_a_fill_does_not_bring_after_all_is_missing_at_once() {
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut body = Body::new(Some(1000));
        let fill = body.begin(0..u64::MAX).unwrap();
        wake(body.write(fill, 0, &bytes(0..500)));
        let mut cx = Context::from_waker(&waker);
        assert_eq!(body.read(550, &mut cx), Found::Wait(50));
        wake(body.pass(fill, 500..600));
        assert_eq!(woken.0.load(Relaxed), 1);
        assert_eq!(read(&mut body, 550), Found::Missing(550..600));
        assert_eq!(read(&mut body, 600), Found::Wait(0));
        assert_eq!(body.left(fill), Some(600..1000));
        // What it brought before is a piece of its own.
        assert_eq!(body.part(&(0..500)).unwrap().concat(), bytes(0..500));
    }

    /// What a byte of the model is.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Byte {
        Missing,
        Coming(u64),
        Here,
    }

    /// A body, and what each of its bytes should be.
    struct Model {
        body: Body,
        bytes: Vec<Byte>,
    }

    impl Model {
        fn turn(&mut self, part: Range<u64>, from: Byte, to: Byte) -> u64 {
            let end = part.end.min(self.bytes.len() as u64);
            let mut turned = 0;
            for byte in &mut self.bytes[part.start.min(end) as usize..end as usize] {
                if *byte == from {
                    *byte = to;
                    turned += 1;
                }
            }
            turned
        }

        /// Position of the next byte that is not what the one at `at` is.
        fn run_end(&self, at: u64) -> u64 {
            let bytes = &self.bytes[at as usize..];
            let other = bytes.iter().position(|&byte| byte != bytes[0]);
            at + other.unwrap_or(bytes.len()) as u64
        }

        /// Looks at a byte; returns how far it is known to be so.
        fn look(&mut self, at: u64) -> u64 {
            let run = self.run_end(at);
            match (self.bytes[at as usize], read(&mut self.body, at)) {
                (Byte::Here, Found::Piece(piece)) => {
                    let end = at + piece.len() as u64;
                    assert!(end > at && end <= run && piece == bytes(at..end));
                    end
                }
                (Byte::Coming(fill), Found::Wait(before)) => {
                    let others = self.bytes[..at as usize].iter();
                    let missing = others.filter(|&&byte| byte == Byte::Coming(fill));
                    assert_eq!(before, missing.count() as u64);
                    run
                }
                (Byte::Missing, Found::Missing(gap)) if gap == (at..run) => run,
                (byte, found) => panic!("{byte:?} at {at} is {found:?}"),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// Whatever comes in whatever order, is let go, given up or loaded: each byte is what it should be.
        #[test]
        fn bytes_in_any_order_are_what_they_should_be(
            length in 1_u64..200_000,
            steps in proptest::collection::vec((0_u8..10, 0_u64..200_000, 1_u64..60_000, 0_usize..100), 1..60),
        ) {
            let mut model = Model {
                body: Body::new(Some(length)),
                bytes: vec![Byte::Missing; length as usize],
            };
            let mut open = Vec::new();
            for (what, from, len, which) in steps {
                let from = from % length;
                let part = from..(from + len).min(length);
                let fill = (!open.is_empty()).then(|| open[which % open.len()]);
                match (what, fill) {
                    (0, _) | (_, None) => {
                        let is_missing = model.bytes[from as usize] == Byte::Missing;
                        let gap = from..model.run_end(from).min(part.end);
                        let begun = model.body.begin(part);
                        prop_assert_eq!(begun.is_some(), is_missing);
                        if let Some(fill) = begun {
                            prop_assert_eq!(model.body.left(fill), Some(gap.clone()));
                            model.turn(gap, Byte::Missing, Byte::Coming(fill));
                            open.push(fill);
                        }
                    }
                    (1..6, Some(fill)) => {
                        // Where it may be of use.
                        let left = model.body.left(fill);
                        let at = left.map_or(from, |left| left.start + from % (left.end - left.start));
                        let end = at + len;
                        wake(model.body.write(fill, at, &bytes(at..end)));
                        model.turn(at..end, Byte::Coming(fill), Byte::Here);
                    }
                    (6, Some(_)) => {
                        let part = part.start / BLOCK * BLOCK..part.end.next_multiple_of(BLOCK);
                        let dropped = model.body.drop_pieces(part.clone());
                        prop_assert_eq!(model.turn(part, Byte::Here, Byte::Missing), dropped);
                    }
                    (7, Some(_)) => {
                        // What is loaded lies in one block.
                        let part = part.start..part.end.min((part.start / BLOCK + 1) * BLOCK);
                        let taken = model.body.put(part.start, &bytes(part.clone()));
                        prop_assert_eq!(model.turn(part, Byte::Missing, Byte::Here), taken);
                    }
                    (8, Some(fill)) => {
                        wake(model.body.pass(fill, part.clone()));
                        model.turn(part, Byte::Coming(fill), Byte::Missing);
                    }
                    (_, Some(fill)) => {
                        open.retain(|&other| other != fill);
                        wake(model.body.end(fill, false));
                        model.turn(0..length, Byte::Coming(fill), Byte::Missing);
                    }
                }
                model.look(from);
            }
            let mut at = 0;
            while at < length {
                at = model.look(at);
            }
            let here = model.turn(0..length, Byte::Here, Byte::Here);
            prop_assert_eq!(model.body.held(), here);
            for fill in open {
                let first = model.bytes.iter().position(|&byte| byte == Byte::Coming(fill));
                let left = model.body.left(fill).map(|left| left.start as usize);
                prop_assert_eq!(left, first);
                wake(model.body.end(fill, false));
            }
            prop_assert_eq!(model.body.is_whole(), here == length);
            // No piece is left over: all goes with the blocks.
            prop_assert_eq!(model.body.drop_pieces(0..length.next_multiple_of(BLOCK)), here);
        }

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
                    wake(body.write(fill, left.start, &bytes(left.start..left.start + piece)));
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
                        wake(body.write(fill, left.start, &bytes(left)));
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
