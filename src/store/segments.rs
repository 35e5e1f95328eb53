//! The order of segments in recently stored HLS playlists: what a player will request next.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::key::Key;

/// The most segments over all playlists; beyond that the oldest playlist is forgotten.
const MOST: usize = 16_384;

/// Segments of recently stored playlists.
#[derive(Debug, Default)]
pub struct Segments {
    // a std mutex: held for some instructions, never across an await
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The list that contains a segment, and its index.
    places: HashMap<Key, (Arc<[Key]>, usize)>,
    /// The lists by playlist, the oldest first.
    lists: VecDeque<(Key, Arc<[Key]>)>,
}

impl Segments {
    /// Records the segments of a playlist, in order.
    pub fn learn(&self, playlist: &Key, segments: Vec<Key>) {
        let mut known = self.known();
        if let Some(at) = known.lists.iter().position(|(of, _)| of == playlist) {
            known.forget(at);
        }
        let list: Arc<[Key]> = segments.into();
        for (at, segment) in list.iter().enumerate() {
            known
                .places
                .insert(segment.clone(), (Arc::clone(&list), at));
        }
        known.lists.push_back((playlist.clone(), list));
        while known.places.len() > MOST && known.lists.len() > 1 {
            known.forget(0);
        }
    }

    /// At most `most` segments that follow this one.
    pub fn behind(&self, segment: &Key, most: usize) -> Vec<Key> {
        let known = self.known();
        let Some((list, at)) = known.places.get(segment) else {
            return Vec::new();
        };
        list.iter().skip(at + 1).take(most).cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget(&mut self, at: usize) {
        let Some((_, list)) = self.lists.remove(at) else {
            return;
        };
        for segment in &*list {
            // Another playlist may contain it, too.
            if (self.places.get(segment)).is_some_and(|(of, _)| Arc::ptr_eq(of, &list)) {
                self.places.remove(segment);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(target: &str) -> Key {
        Key::new(&"default".into(), false, "h", target)
    }

    fn keys(targets: &[&str]) -> Vec<Key> {
        targets.iter().map(|target| key(target)).collect()
    }

    #[test]
    fn the_newest_list_of_a_playlist_tells_what_follows() {
        let segments = Segments::default();
        segments.learn(&key("/p"), keys(&["/1", "/2", "/3"]));
        assert_eq!(segments.behind(&key("/1"), 1), keys(&["/2"]));
        assert_eq!(segments.behind(&key("/2"), 9), keys(&["/3"]));
        segments.learn(&key("/p"), keys(&["/2", "/3", "/4"]));
        assert!(segments.behind(&key("/1"), 9).is_empty());
        assert_eq!(segments.behind(&key("/2"), 9), keys(&["/3", "/4"]));
    }

    #[test]
    fn what_is_known_is_bounded() {
        let segments = Segments::default();
        for n in 0..100 {
            let list = (0..1000).map(|m| key(&format!("/{n}/{m}"))).collect();
            segments.learn(&key(&format!("/{n}")), list);
        }
        let known = segments.known();
        assert!(known.places.len() <= MOST && known.lists.len() <= 17);
    }
}
