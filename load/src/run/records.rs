//! The file of a run's records: a line of JSON each, written as soon as there is one.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    lab::Session,
    record::{Case, Record},
    report,
};

/// The records of one call, and of those before it that it goes on with.
pub struct Records {
    path: PathBuf,
    file: File,
    /// In the order of the file.
    all: Vec<Record>,
}

impl Records {
    /// Opens a file, and reads what is in it already.
    ///
    /// # Errors
    ///
    /// It cannot be read or written, or a line is no record.
    pub fn open(path: PathBuf) -> Result<Self> {
        let (all, _) = match path.is_file() {
            true => report::read(&[&path])?,
            false => Default::default(),
        };
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        Ok(Self { path, file, all })
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Record] {
        &self.all
    }

    /// The call that the file began with: one that goes on with it belongs to it, so that its rounds are compared.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.all.first().map(|record| &record.session)
    }

    /// Whether a contestant's round of a case is there; rounds count from 1.
    #[must_use]
    pub fn has(&self, case: &Case, peer: &str, round: u32) -> bool {
        self.all
            .iter()
            .any(|r| r.case == *case && r.peer == peer && r.round == round)
    }

    /// Adds one.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn add(&mut self, record: Record) -> Result<()> {
        writeln!(self.file, "{}", serde_json::to_string(&record)?)?;
        self.all.push(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_ended_goes_on_behind_its_last_record() {
        let newest = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/reports/2026-11-27/records.jsonl"
        );
        let (all, _) = report::read(&[newest]).unwrap();
        let [first, second, ..] = &all[..] else {
            panic!("{} records", all.len())
        };
        let folder = std::env::temp_dir().join(format!("fileproxy-records-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("records.jsonl");
        let mut records = Records::open(path.clone()).unwrap();
        assert_eq!(records.session(), None);
        records.add(first.clone()).unwrap();
        drop(records);

        let mut records = Records::open(path).unwrap();
        assert_eq!(records.session(), Some(&first.session));
        assert!(records.has(&first.case, &first.peer, first.round));
        assert!(!records.has(&first.case, &first.peer, first.round + 1));
        assert!(!records.has(&second.case, &second.peer, second.round));
        records.add(second.clone()).unwrap();
        assert_eq!(records.all().len(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
