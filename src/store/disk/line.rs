//! A line of the journal, as the index knows it.

/// Where a line lies in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The offset of its first byte.
    pub at: u64,
    /// Its bytes, with its end. 0: there is none yet.
    pub len: u32,
}
