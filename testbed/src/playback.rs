//! A simulated player: what is buffered, what was played, and when playback stalled.

use std::time::{Duration, Instant};

/// The most segments in the buffer, with the one being played.
const SEGMENTS_TO_HOLD: u32 = 3;

/// The buffer of one player.
#[derive(Clone, Debug)]
pub struct Playback {
    /// When it was switched on.
    joined: Instant,
    /// Segments to load before playback starts.
    to_start: u32,
    /// When the picture first moved.
    started: Option<Instant>,
    segments: u32,
    loaded: Duration,
    /// When the buffered content ends; none before the start.
    lasts_until: Option<Instant>,
    stalls: u64,
    stalled: Duration,
}

/// Playback so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Time played.
    pub played: Duration,
    /// Number of stalls.
    pub stalls: u64,
    /// Total time of stalls, without the wait before the start.
    pub stalled: Duration,
    /// How long the wait before the start was; none: it lasts.
    pub startup: Option<Duration>,
}

impl Playback {
    /// A player that is switched on now, and shows something once it has so many segments.
    #[must_use]
    pub const fn new(to_start: u32, now: Instant) -> Self {
        Self {
            joined: now,
            to_start,
            started: None,
            segments: 0,
            loaded: Duration::ZERO,
            lasts_until: None,
            stalls: 0,
            stalled: Duration::ZERO,
        }
    }

    /// Adds a segment of `length` that arrived at `now`.
    pub fn load(&mut self, length: Duration, now: Instant) {
        self.segments += 1;
        self.loaded += length;
        match self.lasts_until {
            None if self.segments >= self.to_start => {
                self.started = Some(now);
                self.lasts_until = Some(now + self.loaded);
            }
            None => {}
            Some(end) if end < now => {
                self.stalls += 1;
                self.stalled += now - end;
                self.lasts_until = Some(now + length);
            }
            Some(end) => self.lasts_until = Some(end + length),
        }
    }

    /// How long to wait at `now` before loading a segment of `length`, so that the buffer does not exceed its limit.
    #[must_use]
    pub fn pause(&self, length: Duration, now: Instant) -> Duration {
        let held = self
            .lasts_until
            .map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
        (held + length).saturating_sub(length * SEGMENTS_TO_HOLD)
    }

    /// Playback until `now`, including a stall that still lasts.
    #[must_use]
    pub fn progress(&self, now: Instant) -> Progress {
        let Some(end) = self.lasts_until else {
            return Progress::default();
        };
        let standing = now.saturating_duration_since(end);
        Progress {
            played: self.loaded - end.saturating_duration_since(now).min(self.loaded),
            stalls: self.stalls + u64::from(!standing.is_zero()),
            stalled: self.stalled + standing,
            startup: (self.started).map(|at| at.saturating_duration_since(self.joined)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(4);

    fn after(segments: u32, at: Instant) -> Playback {
        let mut playback = Playback::new(2, at);
        for _ in 0..segments {
            playback.load(LENGTH, at);
        }
        playback
    }

    #[test]
    fn the_picture_starts_with_the_second_segment() {
        let start = Instant::now();
        let later = start + Duration::from_secs(3);
        assert_eq!(after(1, start).progress(later), Progress::default());
        assert_eq!(after(2, start).progress(later).played.as_secs(), 3);
    }

    #[test]
    fn the_wait_before_the_start_is_no_stall() {
        let joined = Instant::now();
        let (second, mut playback) = (Duration::from_secs(1), Playback::new(1, joined));
        assert_eq!(playback.progress(joined + second).startup, None);
        playback.load(LENGTH, joined + second);
        let progress = playback.progress(joined + 3 * second);
        assert_eq!(progress.startup, Some(second));
        assert_eq!((progress.played, progress.stalls), (2 * second, 0));
    }

    #[test]
    fn loading_pauses_while_three_segments_are_held() {
        let start = Instant::now();
        assert_eq!(after(2, start).pause(LENGTH, start), Duration::ZERO);
        let full = after(3, start);
        assert_eq!(full.pause(LENGTH, start), LENGTH);
        let later = start + Duration::from_secs(3);
        assert_eq!(full.pause(LENGTH, later), Duration::from_secs(1));
    }

    #[test]
    fn a_segment_that_comes_too_late_is_a_stall_of_that_length() {
        let start = Instant::now();
        let mut playback = after(2, start);
        let late = start + Duration::from_secs(10);

        let standing = playback.progress(late);
        playback.load(LENGTH, late);

        let expected = Progress {
            played: Duration::from_secs(8),
            stalls: 1,
            stalled: Duration::from_secs(2),
            startup: Some(Duration::ZERO),
        };
        assert_eq!(standing, expected);
        assert_eq!(playback.progress(late), expected);
        assert_eq!(playback.progress(late + LENGTH).played.as_secs(), 12);
    }
}
