//! The files of the mix: many small to medium ones, some much more popular than others.

use fileproxy_testbed::{
    content::Content,
    random::{Random, hash, unit},
};
use serde::{Deserialize, Serialize};

use crate::units::ByteSize;

/// The files of the mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// How many.
    pub count: usize,
    /// The smallest. Sizes are spread evenly over the orders of magnitude between smallest and largest.
    pub smallest: ByteSize,
    /// The largest.
    pub largest: ByteSize,
    /// Popularity: the n-th file is asked for in proportion to n to the power of minus this (Zipf).
    pub zipf: f64,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub path: String,
    /// Bytes.
    pub length: u64,
}

impl File {
    /// A file of this length and name.
    #[must_use]
    pub fn new(length: u64, name: &str) -> Self {
        Self {
            path: format!("/file/{length}/{name}"),
            length,
        }
    }

    /// The file a path names; none where it names none.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.split('?').next()?;
        let (length, name) = path.strip_prefix("/file/")?.split_once('/')?;
        let length = length.parse().ok().filter(|l| *l <= 1 << 40)?;
        (!name.is_empty()).then(|| Self {
            path: path.to_owned(),
            length,
        })
    }

    /// What is in it.
    #[must_use]
    pub fn content(&self, seed: u64) -> Content {
        Content::seeded(seed, &self.path)
    }
}

/// The files with the chance of each.
#[derive(Clone, Debug)]
pub struct Catalog {
    files: Vec<File>,
    /// Chance of a file or any before it.
    chances: Vec<f64>,
}

impl Catalog {
    /// The catalog of these files; the seed gives the sizes.
    #[must_use]
    pub fn new(files: &Files, seed: u64) -> Self {
        let (low, high) = (
            (files.smallest.bytes() as f64).ln(),
            (files.largest.bytes() as f64).ln(),
        );
        let mut sum = 0.0;
        let (mut list, mut chances) = (Vec::new(), Vec::new());
        for n in 1..=files.count.max(1) {
            let length = (high - low)
                .mul_add(unit(hash(seed, &n.to_le_bytes())), low)
                .exp();
            list.push(File::new(length as u64, &n.to_string()));
            sum += (n as f64).powf(-files.zipf);
            chances.push(sum);
        }
        for chance in &mut chances {
            *chance /= sum;
        }
        Self {
            files: list,
            chances,
        }
    }

    /// The next file to ask for.
    pub fn pick(&self, random: &mut Random) -> &File {
        let at = random.unit();
        let n = self.chances.partition_point(|chance| *chance <= at);
        &self.files[n.min(self.files.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_is_asked_for_most_and_sizes_stay_in_range() {
        let files = Files {
            count: 100,
            smallest: "1 KiB".parse().unwrap(),
            largest: "128 KiB".parse().unwrap(),
            zipf: 0.9,
        };
        let catalog = Catalog::new(&files, 1);
        let mut random = Random::new(2);
        let picks: Vec<_> = (0..20_000)
            .map(|_| catalog.pick(&mut random).clone())
            .collect();
        let count = |n: &str| {
            picks
                .iter()
                .filter(|f| f.path.ends_with(&format!("/{n}")))
                .count()
        };
        assert!(count("1") > 3 * count("10") && count("10") > count("100"));
        assert!(picks.iter().all(|f| (1024..=131_072).contains(&f.length)));
        assert_eq!(File::of_path(&picks[0].path), Some(picks[0].clone()));
        assert_eq!(File::of_path("/file/x/1"), None);
    }
}
