//! Holds back the last bytes before a gap, while the original response is read up to it.
//!
//! That may take minutes, and clients or proxies treat a body without any byte for so long as dead. So the last bytes before the
//! gap are delivered little by little, and are used up when the original response reaches the gap. The body does not end later
//! because of that.

/// Bytes that are held back. In the smallest pieces they last for hundreds of them.
const RESERVE: u64 = 256 * 1024;
/// The smallest piece, in bytes.
const PIECE: u64 = 512;

/// State of the bytes that are held back.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    /// When they began to be used: how many bytes were left, and how far the original response had to go.
    begun: Option<(u64, u64)>,
}

impl Reserve {
    /// How many bytes may be delivered now, with `left` bytes before the gap and `to_go` bytes until the original response reaches
    /// it. None: wait until it is closer.
    pub(super) fn most(&mut self, left: u64, to_go: u64) -> Option<u64> {
        if to_go <= left {
            return Some(u64::MAX);
        }
        if left > RESERVE {
            self.begun = None;
            return Some(left - RESERVE);
        }
        let (had, went) = *self.begun.get_or_insert((left, to_go));
        let share = to_go as f64 / went as f64;
        let kept = (had as f64 * share) as u64;
        left.checked_sub(kept).filter(|&most| most >= PIECE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_back_of_what_is_far_from_the_gap() {
        let most = Reserve::default().most(5_000_000, 90_000_000);
        assert_eq!(most, Some(5_000_000 - RESERVE));
    }

    #[test]
    fn the_last_of_it_is_used_up_as_the_first_response_comes_to_the_gap() {
        let mut reserve = Reserve::default();
        let (mut left, mut to_go, mut pieces) = (RESERVE, 90_000_000_u64, 0);
        while to_go > left {
            if let Some(most) = reserve.most(left, to_go) {
                left -= most;
                pieces += 1;
            }
            to_go = to_go.saturating_sub(32 * 1024);
        }
        assert!(pieces > 200, "{pieces}");
        assert!(left < 2 * RESERVE / 100, "{left}");
        assert_eq!(reserve.most(left, to_go), Some(u64::MAX));
    }

    #[test]
    fn a_first_response_that_is_there_holds_nothing_back() {
        assert_eq!(Reserve::default().most(100, 100), Some(u64::MAX));
    }
}
