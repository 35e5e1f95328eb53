//! The responses that one thread can give again, by the heads of the requests.

use std::{collections::HashMap, rc::Rc};

use super::response::RenderedResponse;

/// Responses of each of the two halves.
const HALF: usize = 256;

/// Longest request head that is known.
pub const LONGEST: usize = 2048;

/// Responses by the bytes of a request's head. Bounded: once one half is full, the other one goes, but for what was used since.
#[derive(Debug, Default)]
pub struct RenderedResponses {
    /// What was added or used lately.
    recent: HashMap<Box<[u8]>, Rc<RenderedResponse>>,
    /// What was so before.
    older: HashMap<Box<[u8]>, Rc<RenderedResponse>>,
}

impl RenderedResponses {
    /// The response to a request with this head, whether it still holds or not.
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

    /// It does not hold any more.
    pub fn remove(&mut self, asked: &[u8]) {
        self.recent.remove(asked);
        self.older.remove(asked);
    }
}
