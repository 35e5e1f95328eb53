//! The class of a line by the kernel's TCP statistics: round-trip time and loss. Slow applications do not affect it.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::quality::Class;

/// With fewer segments, the share of lost ones is not meaningful.
const FEW: u64 = 40;
/// How many measurements in a row must show a better class before it is adopted.
const HOLD: u32 = 10;

/// One measurement of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// Smoothed round-trip time; of a client's line at most half as much again as the least of the last minutes.
    pub round_trip: Duration,
    /// Segments so far.
    pub segments: u64,
    /// Lost segments among them, as far as this end can tell.
    pub lost: u64,
}

impl Look {
    /// The share of lost segments; `None` if too few were sent.
    pub fn loss(&self) -> Option<f64> {
        (self.segments >= FEW).then(|| self.lost as f64 / self.segments as f64)
    }

    /// The worse of the classes by round-trip time and by loss.
    pub fn class(&self) -> Class {
        let by_loss = match self.loss() {
            Some(loss) if loss > 0.03 => Class::VeryPoor,
            Some(loss) if loss > 0.01 => Class::Poor,
            Some(loss) if loss > 0.002 => Class::Medium,
            _ => Class::Good,
        };
        Class::of(self.round_trip).max(by_loss)
    }
}

/// The class of one line over time: a worse one is adopted at once, a better one only after it held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    class: Class,
    better: u32,
    last: Look,
}

impl Line {
    /// Not measured yet, and taken for one of this class.
    pub fn of(class: Class) -> Self {
        Line {
            class,
            ..Line::default()
        }
    }

    /// The class in force.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The last measurement.
    pub fn last(&self) -> Look {
        self.last
    }

    /// Adds a measurement. Returns the class if it changed.
    pub fn observe(&mut self, look: Look) -> Option<Class> {
        self.last = look;
        let seen = look.class();
        if seen >= self.class {
            self.better = 0;
        } else {
            self.better += 1;
        }
        let changes = seen > self.class || self.better >= HOLD;
        changes.then(|| {
            self.better = 0;
            self.class = seen;
            seen
        })
    }
}

/// State of a line in /stats.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct LineStatus {
    /// The class.
    pub class: Class,
    /// Smoothed round-trip time in milliseconds.
    pub round_trip_ms: f64,
    /// Share of lost segments in percent; none if too few were sent.
    pub loss_percent: Option<f64>,
}

impl LineStatus {
    /// Smoothed round-trip time.
    pub fn round_trip(&self) -> Duration {
        Duration::from_secs_f64(self.round_trip_ms.max(0.0) / 1e3)
    }
}

impl From<&Line> for LineStatus {
    fn from(line: &Line) -> Self {
        let round = |number: f64| (number * 1e3).round() / 1e3;
        LineStatus {
            class: line.class,
            round_trip_ms: round(line.last.round_trip.as_secs_f64() * 1e3),
            loss_percent: line.last.loss().map(|loss| round(loss * 100.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(ms: u64, segments: u64, lost: u64) -> Look {
        Look {
            round_trip: Duration::from_millis(ms),
            segments,
            lost,
        }
    }

    #[test]
    fn a_long_or_a_lossy_line_is_a_poor_one() {
        assert_eq!(look(10, 1000, 0).class(), Class::Good);
        assert_eq!(look(160, 10, 0).class(), Class::Poor);
        assert_eq!(look(10, 1000, 15).class(), Class::Poor);
        assert_eq!(look(10, 1000, 50).class(), Class::VeryPoor);
        assert_eq!(look(400, 1000, 15).class(), Class::VeryPoor);
    }

    #[test]
    fn one_lost_segment_among_few_says_nothing() {
        assert_eq!(look(10, 20, 1).class(), Class::Good);
    }

    #[test]
    fn worse_is_believed_at_once_and_better_only_after_it_held() {
        let mut line = Line::default();
        assert_eq!(line.observe(look(200, 100, 0)), Some(Class::Poor));
        for _ in 1..HOLD {
            assert_eq!(line.observe(look(10, 100, 0)), None);
        }
        assert_eq!(line.observe(look(10, 100, 0)), Some(Class::Good));
    }
}
