//! Records as Markdown.

use crate::record::Record;

/// A table for each case.
#[must_use]
pub fn tables(_records: &[Record]) -> String {
    String::new()
}
