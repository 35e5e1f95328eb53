//! A new object for the index.

use super::id::Id;

/// What the index needs to know of a new object.
#[derive(Clone, Copy, Debug)]
pub struct New {
    /// `Index::hash` of its key.
    pub hash: u128,
    /// `Index::variant` of its variant.
    pub variant: u64,
    /// Its id, which names its file.
    pub id: Id,
    /// Serial number of its head: the higher, the newer.
    pub serial: u64,
    /// Complete length of its body, if known.
    pub length: Option<u64>,
    /// Whether it has a strong validator, so that missing bytes can be fetched.
    pub resumable: bool,
}
