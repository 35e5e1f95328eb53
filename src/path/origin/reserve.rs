//! What is kept back of the bytes before a gap, while the first response is read past what parts had brought.
//!
//! That may take minutes, and a client, or a proxy before this one, takes a body of which nothing comes for a dead one.
//! So the last of what is here is handed out little by little, and is used up when the first response has come to the gap.
//! The body's end is no later for that.

/// So much is kept back. In the smallest pieces it lasts for hundreds of them.
const RESERVE: u64 = 256 * 1024;
/// The smallest piece.
const PIECE: u64 = 512;

/// What is kept back.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    /// How many bytes were left, and how far the first response had to go, when the last of them began.
    begun: Option<(u64, u64)>,
}

impl Reserve {
    /// How much may be handed out, with `left` bytes before the gap, and so many for the first response to go to it.
    /// None: it must come nearer first.
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
