//! An object that comes into the index.

use super::id::Id;

/// What is known of an object that comes in.
#[derive(Clone, Copy, Debug)]
pub struct New {
    /// `Index::hash` of its key.
    pub hash: u128,
    /// `Index::variant` of its variant.
    pub variant: u64,
    /// Its file's name.
    pub id: Id,
    /// Of its head: the higher, the newer.
    pub serial: u64,
    /// The complete length of its body, if it is known.
    pub length: Option<u64>,
    /// Whether it has a strong validator: what of it is missing can be fetched again.
    pub resumable: bool,
}
