//! Requests of one client resemble each other: a client on a bad line has all its requests on it. So the sampling error of a group
//! is estimated between clients, not between requests.
//!
//! A group's clients are assigned to [`COUNT`] cells by their addresses, and each cell is one sampling unit. The variance between
//! cells gives the design effect (Kish 1965, Survey Sampling), by which the effective sample size is smaller than the number of
//! requests (Rao and Scott 1992, Biometrics 48:577), and the variance of a ratio (Cochran 1977, Sampling Techniques, 6.3).

use super::interval::{Alpha, Estimate, wilson};

/// Cells in each group.
pub const COUNT: usize = 64;

/// The percentiles that are compared: p50 and p95.
pub const SHARES: [f64; 2] = [0.50, 0.95];

/// Counts for the clients of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Requests that were served or failed.
    pub counted: u64,
    /// Those that failed.
    pub failed: u64,
    /// Requests in `counted` that were compared with the percentiles of both groups together.
    pub timed: u64,
    /// How many of those took longer than p50 and longer than p95.
    pub above: [u64; SHARES.len()],
    /// Body bytes of complete responses.
    pub bytes: u64,
    /// Time spent on the requests, in microseconds.
    pub micros: u64,
}

impl Cell {
    fn each(&mut self, other: &Cell, f: impl Fn(u64, u64) -> u64) {
        self.counted = f(self.counted, other.counted);
        self.failed = f(self.failed, other.failed);
        self.timed = f(self.timed, other.timed);
        for (own, other) in self.above.iter_mut().zip(other.above) {
            *own = f(*own, other);
        }
        self.bytes = f(self.bytes, other.bytes);
        self.micros = f(self.micros, other.micros);
    }
}

/// All cells of one group.
#[derive(Clone, Debug)]
pub struct Cells(Box<[Cell; COUNT]>);

impl Default for Cells {
    fn default() -> Self {
        Cells(Box::new([Cell::default(); COUNT]))
    }
}

impl Cells {
    /// The cell with this number.
    pub fn of(&mut self, cell: u8) -> &mut Cell {
        &mut self.0[usize::from(cell) % COUNT]
    }

    /// Adds the counts of `other`.
    #[cfg(test)]
    fn add(&mut self, other: &Cells) {
        for (own, other) in self.0.iter_mut().zip(other.0.iter()) {
            own.each(other, u64::saturating_add);
        }
    }

    /// Subtracts the counts of `gone`.
    pub fn subtract(&mut self, gone: &Cells) {
        for (own, gone) in self.0.iter_mut().zip(gone.0.iter()) {
            own.each(gone, u64::saturating_sub);
        }
    }

    /// Number of cells with requests: a lower bound for the number of clients.
    pub fn clients(&self) -> u64 {
        self.0.iter().filter(|cell| cell.counted > 0).count() as u64
    }

    /// A sum over all cells.
    pub fn sum(&self, of: impl Fn(&Cell) -> u64) -> u64 {
        self.0.iter().map(of).sum()
    }

    /// The ratio `part` / `whole` and its effective sample size, at most the number of requests. None with fewer than two clients.
    fn effective(
        &self,
        part: impl Fn(&Cell) -> u64,
        whole: impl Fn(&Cell) -> u64,
        alpha: Alpha,
    ) -> Option<f64> {
        let n = self.sum(&whole) as f64;
        let clients = self.0.iter().filter(|cell| whole(cell) > 0).count() as f64;
        if clients < 2.0 {
            return None;
        }
        let p = self.sum(&part) as f64 / n;
        let between: f64 = self
            .0
            .iter()
            .map(|cell| (part(cell) as f64 - p * whole(cell) as f64).powi(2))
            .sum::<f64>()
            * clients
            / (clients - 1.0)
            / (n * n);
        let plain = p * (1.0 - p) / n;
        let effect = if plain > 0.0 {
            (between / plain).max(1.0)
        } else {
            1.0
        };
        let few = (alpha.z() / alpha.t(clients - 1.0)).powi(2);
        Some(n / effect * few)
    }

    /// The share of requests that failed. None without requests.
    pub fn failures(&self, alpha: Alpha) -> Option<Estimate> {
        let counted = self.sum(|cell| cell.counted);
        if counted == 0 {
            return None;
        }
        let p = self.sum(|cell| cell.failed) as f64 / counted as f64;
        let n = self.effective(|cell| cell.failed, |cell| cell.counted, alpha);
        Some(n.map_or(Estimate::unsure(p), |n| wilson(p, n, alpha.z())))
    }

    /// Confidence interval for the rank of percentile number `which` of [`SHARES`] (Woodruff 1952, Journal of the American
    /// Statistical Association 47:635). None with fewer than two clients.
    pub fn ranks(&self, which: usize, alpha: Alpha) -> Option<Estimate> {
        let n = self.effective(|cell| cell.above[which], |cell| cell.timed, alpha)?;
        Some(wilson(SHARES[which], n, alpha.z()))
    }

    /// Throughput: bits of complete responses per second of request time, in Mbit/s (10^6). None without time.
    pub fn goodput(&self, alpha: Alpha) -> Option<Estimate> {
        let micros = self.sum(|cell| cell.micros) as f64;
        if micros == 0.0 {
            return None;
        }
        // bits per microsecond are megabits per second
        let bits = |cell: &Cell| cell.bytes as f64 * 8.0;
        let value = self.0.iter().map(bits).sum::<f64>() / micros;
        let clients = self.clients() as f64;
        if clients < 2.0 {
            return Some(Estimate::unsure(value));
        }
        let residuals: f64 = self
            .0
            .iter()
            .map(|cell| (bits(cell) - value * cell.micros as f64).powi(2))
            .sum();
        let error = (clients / (clients - 1.0) * residuals).sqrt() / micros;
        let half = alpha.t(clients - 1.0) * error;
        Some(Estimate {
            value,
            low: (value - half).max(0.0),
            high: value + half,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(of: impl Fn(usize) -> Cell) -> Cells {
        let mut cells = Cells::default();
        for (n, cell) in cells.0.iter_mut().enumerate() {
            *cell = of(n);
        }
        cells
    }

    fn width(estimate: Option<Estimate>) -> f64 {
        let estimate = estimate.unwrap();
        estimate.high - estimate.low
    }

    #[test]
    fn failures_of_one_client_say_less_than_as_many_of_all() {
        let spread = cells(|_| Cell {
            counted: 100,
            failed: 1,
            ..Cell::default()
        });
        let one = cells(|n| Cell {
            counted: 100,
            failed: if n == 0 { 64 } else { 0 },
            ..Cell::default()
        });
        let (spread, one) = (spread.failures(Alpha::SHOWN), one.failures(Alpha::SHOWN));
        assert_eq!(spread.unwrap().value, one.unwrap().value);
        assert!(width(one) > 5.0 * width(spread), "{one:?} {spread:?}");
    }

    #[test]
    fn few_clients_are_unsure_however_much_they_ask() {
        let of = |clients, each| {
            cells(|n| Cell {
                counted: if n < clients { each } else { 0 },
                failed: if n < clients { each / 10 } else { 0 },
                ..Cell::default()
            })
        };
        assert_eq!(
            of(1, 1_000_000).failures(Alpha::SHOWN).unwrap().high,
            f64::INFINITY
        );
        let (few, many) = (of(3, 2000), of(60, 100));
        assert!(width(few.failures(Alpha::SHOWN)) > 1.5 * width(many.failures(Alpha::SHOWN)));
        assert_eq!((few.clients(), many.clients()), (3, 60));
        assert_eq!(of(0, 0).failures(Alpha::SHOWN), None);
    }

    #[test]
    fn goodput_is_bytes_over_time_and_as_sure_as_the_cells_agree() {
        let alike = cells(|_| Cell {
            counted: 1,
            bytes: 1_000_000,
            micros: 1_000_000,
            ..Cell::default()
        });
        let goodput = alike.goodput(Alpha::SHOWN).unwrap();
        assert_eq!((goodput.value, goodput.low, goodput.high), (8.0, 8.0, 8.0));
        let mixed = cells(|n| Cell {
            counted: 1,
            bytes: 500_000 + 1_000_000 * (n as u64 % 2),
            micros: 1_000_000,
            ..Cell::default()
        });
        let goodput = mixed.goodput(Alpha::SHOWN).unwrap();
        assert_eq!(goodput.value, 8.0);
        // the cells' standard deviation is 4 (63 degrees of freedom), over the root of 64
        let half = Alpha::SHOWN.t(63.0) * 4.0 * (64.0_f64 / 63.0).sqrt() / 8.0;
        assert!((goodput.high - 8.0 - half).abs() < 1e-9, "{goodput:?}");
    }

    #[test]
    fn what_is_added_can_be_taken_out_again() {
        let one = cells(|n| Cell {
            counted: n as u64,
            above: [1, 2],
            ..Cell::default()
        });
        let mut sum = Cells::default();
        sum.add(&one);
        sum.add(&one);
        sum.subtract(&one);
        assert_eq!(sum.0, one.0);
    }
}
