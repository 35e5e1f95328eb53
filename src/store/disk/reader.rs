//! The threads that read: blocks, with their checksums, and heads from the journal.

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

/// Bytes that the kernel reads ahead behind a block.
const AHEAD: u64 = 512 * 1024;

/// Runs until the tier is closed.
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
                // The requester may have left.
                _ = reply.send(head);
            }
            Next::Nothing => {}
            Next::Closed => return,
        }
    }
}

/// Reads a block. The checksum is verified each time: a hole, a bit error or foreign data is a miss, never an answer.
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
            // With other errors, such as a lack of file descriptors, the block still exists.
            let is_gone = matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ) || is_broken(&error);
            // If it was evicted meanwhile, this is not an error.
            if !is_gone || lose(shared, place, number, sum) {
                count(&shared.counters.read_errors);
            }
            None
        }
    }
}

/// Marks a block as missing. Returns whether the index still had it.
fn lose(shared: &Shared, place: Place, number: u32, sum: u64) -> bool {
    let mut held = shared.held();
    let is_same = held
        .index
        .block(place, number)
        .is_some_and(|(now, _)| now == sum);
    if is_same {
        let bytes = held.index.clear_blocks(place, number..number + 1);
        if !shared.must(Job::Lost(place.id, number, bytes)) {
            // Its space is freed with the file.
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
