//! Inputs that are almost right: a corpus file with some edits. Bytes that are random from the first on are refused at the
//! first, and show nothing of what comes behind it.

use std::fmt;

use proptest::{prelude::*, sample::Index};

/// What a target is given.
#[derive(Clone)]
pub struct Input(pub Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

#[derive(Clone, Debug)]
enum Edit {
    /// A word of the target's language.
    Word(Index, Index),
    Byte(Index, u8),
    /// Takes a byte's place.
    Instead(Index, u8),
    Delete(Index, usize),
    Repeat(Index, usize),
    /// The same byte many times: what has a limit is driven to it.
    Many(Index, u8, usize),
    /// What is behind is another input's.
    Splice(Index, Index),
}

/// Inputs made from `seeds`.
pub fn inputs(seeds: Vec<Vec<u8>>, words: &'static [&'static str]) -> impl Strategy<Value = Input> {
    let at = any::<Index>;
    let edit = prop_oneof![
        4 => (at(), at()).prop_map(|(at, word)| Edit::Word(at, word)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Instead(at, byte)),
        2 => (at(), 1..20_usize).prop_map(|(at, len)| Edit::Delete(at, len)),
        2 => (at(), 1..60_usize).prop_map(|(at, len)| Edit::Repeat(at, len)),
        1 => (at(), any::<u8>(), 1..600_usize).prop_map(|(at, byte, n)| Edit::Many(at, byte, n)),
        1 => (at(), at()).prop_map(|(at, other)| Edit::Splice(at, other)),
    ];
    (at(), prop::collection::vec(edit, 0..6)).prop_map(move |(seed, edits)| {
        let mut bytes = seed.get(&seeds).clone();
        for edit in &edits {
            apply(edit, &mut bytes, &seeds, words);
        }
        Input(bytes)
    })
}

fn apply(edit: &Edit, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str]) {
    let len = bytes.len();
    let place = |at: &Index| at.index(len + 1);
    match edit {
        Edit::Word(at, word) => {
            let word = word.get(words).bytes();
            bytes.splice(place(at)..place(at), word);
        }
        Edit::Byte(at, byte) => bytes.insert(place(at), *byte),
        Edit::Instead(at, byte) => {
            if let Some(there) = bytes.get_mut(place(at)) {
                *there = *byte;
            }
        }
        Edit::Delete(at, many) => {
            bytes.drain(place(at)..len.min(place(at) + many));
        }
        Edit::Repeat(at, many) => {
            bytes.extend_from_within(place(at)..len.min(place(at) + many));
            let added = bytes.len() - len;
            bytes[place(at)..].rotate_right(added);
        }
        Edit::Many(at, byte, many) => {
            bytes.splice(place(at)..place(at), std::iter::repeat_n(*byte, *many));
        }
        Edit::Splice(at, other) => {
            bytes.truncate(place(at));
            let other = other.get(seeds);
            bytes.extend_from_slice(&other[at.index(other.len() + 1)..]);
        }
    }
}
