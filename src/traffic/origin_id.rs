//! The number of an origin.

/// The number by which samples and messages name an origin; it is not used again for another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginId(pub u32);
