//! The threads that read: blocks against their checksums, and heads out of the journal.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    blocks,
    entry::Place,
    figures::count,
    head::StoredHead,
    jobs::Next,
    journal::read_line,
    line::Line,
    record::Record,
    shared::{Job, Read, Shared},
};
use crate::store::body::BLOCK;

/// What the system reads ahead of a block, in bytes.
const AHEAD: u64 = 512 * 1024;

/// Reads until the tier is closed.
pub fn run(shared: &Arc<Shared>, reader: usize) {
    loop {
        shared.set_reading(reader, false);
        let next = shared.reads.next(Duration::from_secs(3600));
        shared.set_reading(reader, true);
        match next {
            Next::Job(Read::Block(place, number, done)) => {
                let bytes = block(shared, place, number);
                if bytes.is_none() {
                    count(&shared.counters.not_read);
                }
                done.tell(bytes);
            }
            Next::Job(Read::Head(file, line, reply)) => {
                let head = head(shared, &file, line);
                if head.is_none() {
                    count(&shared.counters.not_read);
                }
                // Who left needs none.
                _ = reply.send(head);
            }
            Next::Nothing => {}
            Next::Closed => return,
        }
    }
}

/// Reads a block. Its checksum is looked at each time: a hole, a bit that turned over or another's bytes are a miss, and never
/// an answer.
fn block(shared: &Shared, place: Place, number: u32) -> Option<Bytes> {
    let (sum, len) = shared.held().index.block(place, number)?;
    let offset = u64::from(number) * BLOCK;
    let directory = shared.directory.load();
    match directory.read(place.id, offset, len as usize, AHEAD) {
        Ok(bytes) if blocks::sum(&bytes) == sum => {
            count(&shared.counters.read);
            shared.held().index.mark_used(place, number);
            Some(bytes.into())
        }
        Ok(_) => {
            count(&shared.counters.checksum_failures);
            lose(shared, place, number, sum);
            None
        }
        Err(error) => {
            // Where the system has too little of something else, the block is still there.
            let is_gone = matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ) || is_broken(&error);
            // It may have been pushed out meanwhile: then this is no error.
            if !is_gone || lose(shared, place, number, sum) {
                count(&shared.counters.read_errors);
            }
            None
        }
    }
}

/// A block could not be read: it is missing. Whether it was still thought to be there.
fn lose(shared: &Shared, place: Place, number: u32, sum: u64) -> bool {
    let mut held = shared.held();
    let is_same = held
        .index
        .block(place, number)
        .is_some_and(|(now, _)| now == sum);
    if is_same {
        let bytes = held.index.clear_blocks(place, number..number + 1);
        if !shared.must(Job::Lost(place.id, number, bytes)) {
            // It goes with its file.
            held.index.left(bytes);
        }
    }
    is_same
}

fn is_broken(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno == Some(rustix::io::Errno::IO)
}

fn head(shared: &Shared, file: &std::fs::File, line: Line) -> Option<Box<StoredHead>> {
    match read_line(file, line) {
        Ok((Record::Head(head), _)) => Some(head),
        Ok(_) => None,
        Err(error) => {
            let counters = &shared.counters;
            count(match error.kind() {
                io::ErrorKind::InvalidData => &counters.checksum_failures,
                _ => &counters.read_errors,
            });
            None
        }
    }
}
