//! From records to something to read: the same document as Markdown and as an HTML page.
//!
//! [`group`] sorts records by case and contestant, [`tables`] and [`claims`] say it in numbers, [`plot`] draws it,
//! [`document`] writes it.

pub mod claims;
pub mod document;
pub mod group;
pub mod plot;
pub mod tables;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use self::document::{Block, Document};
use crate::{
    compare::{comparison::Comparison, table},
    failure::Failure,
    record::Record,
};

/// Reads records from files with a JSON line each; lines of other kinds are refused.
///
/// # Errors
///
/// A file cannot be read, or a line is no record.
pub fn read(files: &[impl AsRef<Path>]) -> Result<(Vec<Record>, Vec<Comparison>)> {
    #[derive(serde::Deserialize)]
    struct Kind {
        kind: String,
    }
    let (mut runs, mut comparisons) = (Vec::new(), Vec::new());
    for file in files {
        let file = file.as_ref();
        let text = fs::read_to_string(file)
            .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
        for (n, line) in text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
        {
            let at = || format!("{}:{}: not a record", file.display(), n + 1);
            let Kind { kind } = serde_json::from_str(line).with_context(at)?;
            match kind.as_str() {
                "run" => runs.push(serde_json::from_str(line).with_context(at)?),
                "compare" => comparisons.push(serde_json::from_str(line).with_context(at)?),
                _ => bail!(Failure::Usage(at())),
            }
        }
    }
    Ok((runs, comparisons))
}

/// The whole report on these records; `of` is the contestant whose ratio to each other one is shown.
#[must_use]
pub fn report(runs: &[Record], comparisons: &[Comparison], of: &str) -> Document {
    let mut document = Document::default();
    document.push(Block::Heading(1, "What the proxies did".to_owned()));
    document.extend(tables::preface(runs, comparisons));
    if !runs.is_empty() {
        document.extend(claims::blocks(runs));
        document.extend(tables::cases(runs, of, true));
    }
    document.extend(table::blocks(comparisons));
    document
}

/// Writes `report.md`, `report.html` and the plots.
///
/// # Errors
///
/// The folder cannot be written.
pub fn write(document: &Document, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, svg) in document.plots() {
        fs::write(folder.join(name), svg)?;
    }
    fs::write(folder.join("report.md"), document.markdown())?;
    fs::write(folder.join("report.html"), document.html())?;
    Ok(())
}
