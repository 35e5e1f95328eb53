//! Reads an object for one client.

use std::{sync::Arc, task::Context};

use super::{body::Found, contents::EXTENT, object::Object};

/// A reader at a position of an object.
#[derive(Debug)]
pub struct Reader {
    object: Arc<Object>,
    number: u64,
    at: u64,
    /// The last extent counted as used.
    touched: Option<u64>,
    /// Whether it continues from elsewhere, so that nothing is kept for it.
    left: bool,
}

impl Reader {
    /// A reader of `object` at position `at`.
    pub fn of(object: &Arc<Object>, at: u64) -> Self {
        let mut contents = object.contents();
        let number = contents.next_reader;
        contents.next_reader += 1;
        contents.readers.insert(number, at);
        Reader {
            object: Arc::clone(object),
            number,
            at,
            touched: None,
            left: false,
        }
    }

    /// The object.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// Position of the next byte.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// What is at its position; see `Body::read`. Bytes that are only on disk are [`Found::Stored`].
    pub fn look(&mut self, cx: &mut Context<'_>) -> Found {
        let mut contents = self.object.contents();
        let found = contents.body.read(self.at, cx);
        match found {
            Found::Piece(_) => {
                let extent = self.at / EXTENT;
                if self.touched != Some(extent) {
                    self.touched = Some(extent);
                    contents.use_extent(extent);
                }
                found
            }
            Found::Missing(_) | Found::Broken => contents.read_disk(self.at, found, cx),
            _ => found,
        }
    }

    /// Advances by bytes taken.
    pub fn take(&mut self, bytes: u64) {
        self.at += bytes;
        if !self.left {
            self.object.contents().readers.insert(self.number, self.at);
            self.object.has_read();
        }
    }

    /// From now on it reads from elsewhere: neither are bytes kept for it, nor do fills continue for it.
    pub fn leave(&mut self) {
        self.left = true;
        self.object.contents().readers.remove(&self.number);
        self.object.has_read();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.object.contents().readers.remove(&self.number);
        self.object.has_read();
    }
}
