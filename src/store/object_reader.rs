//! One that reads an object.

use std::{sync::Arc, task::Context};

use super::{body::Found, contents::EXTENT, object::Object};

/// One that reads an object from some byte on.
#[derive(Debug)]
pub struct Reader {
    object: Arc<Object>,
    number: u64,
    at: u64,
    /// The extent that it was last seen to use.
    touched: Option<u64>,
    /// It reads on from elsewhere: nothing is kept for it.
    left: bool,
}

impl Reader {
    /// A reader of `object` that begins at `at`.
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

    /// The object that it reads.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// The byte that it reads next.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// What there is at its place; see `Body::read`. What is missing in memory and is on disk is [`Found::Stored`].
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

    /// It took so many bytes.
    pub fn take(&mut self, bytes: u64) {
        self.at += bytes;
        if !self.left {
            self.object.contents().readers.insert(self.number, self.at);
            self.object.has_read();
        }
    }

    /// From now on it reads from elsewhere: nothing is kept for it, and no fill goes on for it.
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
