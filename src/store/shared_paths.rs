//! Directories whose responses are known to be shareable: there, requests may wait for one response, whatever other fields they
//! have. Used before a response is known; whether it really can be shared is still checked for each waiting request.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::key::Key;

/// Number of slots for directories; a power of two.
const PLACES: usize = 4096;

/// Hashes of directories whose last response was shareable. Directories with the same slot overwrite each other. A wrong guess only
/// costs a wait.
#[derive(Debug)]
pub struct SharedPaths {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for SharedPaths {
    fn default() -> Self {
        SharedPaths {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl SharedPaths {
    /// Whether the last response in the directory of this key was shareable.
    pub fn holds(&self, key: &Key) -> bool {
        let directory = self.directory(key);
        self.place(directory).load(Relaxed) == directory
    }

    /// Records whether a response for this key was shareable.
    pub fn learn(&self, key: &Key, is_for_all: bool) {
        let directory = self.directory(key);
        let place = self.place(directory);
        if is_for_all {
            place.store(directory, Relaxed);
        } else {
            // Only its own entry: another directory's stays.
            _ = place.compare_exchange(directory, 0, Relaxed, Relaxed);
        }
    }

    fn directory(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key.directory()) | 1
    }

    fn place(&self, directory: u64) -> &AtomicU64 {
        &self.places[(directory >> 1) as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_response_in_a_directory_tells() {
        let paths = SharedPaths::default();
        let key = |host, target| Key::new(&"default".into(), false, host, target);
        assert!(!paths.holds(&key("h", "/live/2.ts")));
        paths.learn(&key("h", "/live/1.ts"), true);
        assert!(paths.holds(&key("h", "/live/2.ts?a=/b/c")));
        assert!(!paths.holds(&key("h", "/2.ts")) && !paths.holds(&key("g", "/live/2.ts")));
        paths.learn(&key("h", "/live/3.ts"), false);
        assert!(!paths.holds(&key("h", "/live/2.ts")));
    }
}
