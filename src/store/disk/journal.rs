//! The journal: an append-only list of what is on disk, one record per line. Data is written before its record, so that what the
//! journal names either exists or fails its checksum.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use super::{
    directory::options,
    line::Line,
    record::{LONGEST, Record},
};

/// A journal that is open for appending.
#[derive(Debug)]
pub struct Journal {
    file: Arc<File>,
    len: u64,
}

/// A line of the journal.
#[derive(Debug)]
pub enum Read {
    /// With a valid checksum.
    Good(Box<Record>, Line),
    /// Damaged; with its offset.
    Bad(u64),
}

impl Journal {
    /// Opens the journal at `path`, or creates it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = options()
            .read(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let len = file.metadata()?.len();
        Ok(Journal {
            file: Arc::new(file),
            len,
        })
    }

    /// The file: written lines never change.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Length in bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "of a file, and not of a collection"
    )]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Appends a line.
    ///
    /// # Errors
    ///
    /// What the system says. A partly written line is cut off, or overwritten by the next.
    pub fn append(&mut self, line: &[u8]) -> io::Result<Line> {
        if let Err(error) = self.file.write_all_at(line, self.len) {
            _ = self.file.set_len(self.len);
            return Err(error);
        }
        let at = self.len;
        self.len += line.len() as u64;
        Ok(Line {
            at,
            len: line.len() as u32,
        })
    }

    /// Truncates it to `len` bytes.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Reads all lines in order, until `each` returns false.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn read(&self, mut each: impl FnMut(Read) -> bool) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 20, Cursor(&self.file, 0));
        let mut line = Vec::new();
        let mut at = 0;
        loop {
            line.clear();
            let len = (&mut reader)
                .take(LONGEST as u64)
                .read_until(b'\n', &mut line)?;
            if len == 0 {
                return Ok(());
            }
            let place = Line {
                at,
                len: len as u32,
            };
            // A line without its end is incomplete, whatever it contains.
            let record = line.strip_suffix(b"\n").and_then(Record::parse);
            let read = match record {
                Some(record) => Read::Good(Box::new(record), place),
                None => Read::Bad(at),
            };
            if !each(read) {
                return Ok(());
            }
            at += len as u64;
        }
    }
}

/// Reads at its own offset, because the file is shared.
struct Cursor<'a>(&'a File, u64);

impl io::Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read_at(buffer, self.1)?;
        self.1 += read as u64;
        Ok(read)
    }
}

/// Reads a single line.
///
/// # Errors
///
/// What the system says; [`io::ErrorKind::InvalidData`] if its checksum is wrong.
pub fn read_line(file: &File, line: Line) -> io::Result<(Record, Vec<u8>)> {
    let mut bytes = vec![0; line.len as usize];
    file.read_exact_at(&mut bytes, line.at)?;
    let record = bytes.strip_suffix(b"\n").and_then(Record::parse);
    let record = record.ok_or(io::ErrorKind::InvalidData)?;
    Ok((record, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::id::Id;

    fn gone(id: u128) -> Vec<u8> {
        Record::Gone { id: Id(id) }.line()
    }

    fn read(journal: &Journal) -> (usize, Vec<u64>) {
        let (mut good, mut bad) = (0, Vec::new());
        journal
            .read(|read| {
                match read {
                    Read::Good(..) => good += 1,
                    Read::Bad(at) => bad.push(at),
                }
                true
            })
            .unwrap();
        (good, bad)
    }

    #[test]
    fn lines_are_read_again_one_by_one_and_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        let first = journal.append(&gone(1)).unwrap();
        let second = journal.append(&gone(2)).unwrap();
        assert_eq!(second.at, u64::from(first.len));
        let (record, line) = read_line(journal.file(), second).unwrap();
        assert!(matches!(record, Record::Gone { id: Id(2) }) && line == gone(2));
        let journal = Journal::open(&path).unwrap();
        assert_eq!(read(&journal), (2, vec![]));
        let wrong = Line {
            at: 1,
            len: second.len,
        };
        assert!(read_line(journal.file(), wrong).is_err());
    }

    #[test]
    fn what_was_torn_is_told_and_can_be_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&folder.path().join("journal")).unwrap();
        journal.append(&gone(1)).unwrap();
        let end = journal.len();
        let line = gone(2);
        journal.append(&line[..line.len() - 1]).unwrap();
        assert_eq!(read(&journal), (1, vec![end]));
        journal.cut(end).unwrap();
        journal.append(&line).unwrap();
        assert_eq!(read(&journal), (2, vec![]));
    }
}
