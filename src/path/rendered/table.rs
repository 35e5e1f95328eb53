//! The rendered responses of one thread, by request head.

use std::{collections::HashMap, rc::Rc};

use super::response::RenderedResponse;

/// The most responses in each half.
const HALF: usize = 256;

/// Longest request head that is stored, in bytes.
pub const LONGEST: usize = 2048;

/// Responses by the bytes of the request head. When the recent half is full it replaces the older half, so what was not used since
/// is dropped.
#[derive(Debug, Default)]
pub struct RenderedResponses {
    /// Entries added or used recently.
    recent: HashMap<Box<[u8]>, Rc<RenderedResponse>>,
    /// Entries from before that.
    older: HashMap<Box<[u8]>, Rc<RenderedResponse>>,
}

impl RenderedResponses {
    /// The response for this request head, without checking whether it is still valid.
    pub fn get(&mut self, asked: &[u8]) -> Option<Rc<RenderedResponse>> {
        if let Some(known) = self.recent.get(asked) {
            return Some(Rc::clone(known));
        }
        let (asked, known) = self.older.remove_entry(asked)?;
        self.insert(asked, Rc::clone(&known));
        Some(known)
    }

    /// Adds the response to a request with this head.
    pub fn insert(&mut self, asked: Box<[u8]>, response: Rc<RenderedResponse>) {
        if self.recent.len() >= HALF {
            self.older = std::mem::take(&mut self.recent);
        }
        self.older.remove(&asked);
        self.recent.insert(asked, response);
    }

    /// Removes a response that is no longer valid.
    pub fn remove(&mut self, asked: &[u8]) {
        self.recent.remove(asked);
        self.older.remove(asked);
    }
}
