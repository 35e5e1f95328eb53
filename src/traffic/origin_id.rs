//! The number of an origin.

/// Identifies an origin in samples and messages; never reused for another origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginId(pub u32);
