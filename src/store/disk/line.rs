//! Position of a line in the journal.

/// Position of a line in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Offset of its first byte.
    pub at: u64,
    /// Length in bytes with the line end; 0 if it does not exist yet.
    pub len: u32,
}
