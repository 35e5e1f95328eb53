//! Which blocks of a body are on disk, with their checksums: 16 bytes of memory for a body of one block, 8 for each block of a
//! larger one.

use std::{collections::BTreeMap, ops::Range};

use xxhash_rust::xxh3::xxh3_64;

use crate::store::body::BLOCK;

/// Blocks of an extent, the unit of eviction from disk: 16 MiB.
pub const EXTENT: u32 = 256;

/// The most blocks of one body: 1 TiB.
pub const MOST: u32 = 1 << 24;

/// Uses of an extent are counted up to this.
const MOST_USES: u8 = 3;

/// Checksum of a block. Never 0, which stands for a missing block.
pub fn sum(bytes: &[u8]) -> u64 {
    xxh3_64(bytes).max(1)
}

/// Length of a block in bytes, in a body of this length.
pub fn len(number: u32, length: Option<u64>) -> u64 {
    let begin = u64::from(number) * BLOCK;
    length.map_or(BLOCK, |length| length.saturating_sub(begin).min(BLOCK))
}

/// The blocks of one body that are on disk.
#[derive(Debug)]
pub enum Blocks {
    /// At most the first block.
    One {
        /// Its checksum; 0 if it is missing.
        sum: u64,
        /// Uses since eviction last checked it.
        uses: u8,
    },
    /// More than one.
    Many(Box<Many>),
}

/// The blocks of a large body.
#[derive(Debug, Default)]
pub struct Many {
    /// By extent number.
    extents: BTreeMap<u32, Extent>,
    /// Number of blocks.
    count: u32,
    /// Memory used, in bytes.
    memory: usize,
}

/// Memory for an extent in addition to its checksums: a tree node holds 5 to 11 of them.
const NODE: usize = 96;

/// The blocks of one extent.
#[derive(Debug, Default)]
pub struct Extent {
    /// Checksums, up to the last block that is present.
    sums: Vec<u64>,
    count: u16,
    uses: u8,
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks::One { sum: 0, uses: 0 }
    }
}

impl Blocks {
    /// Checksum of a block, if it is present.
    pub fn get(&self, number: u32) -> Option<u64> {
        let sum = match self {
            Blocks::One { sum, .. } if number == 0 => *sum,
            Blocks::One { .. } => 0,
            Blocks::Many(many) => {
                let extent = many.extents.get(&(number / EXTENT))?;
                *extent.sums.get((number % EXTENT) as usize)?
            }
        };
        (sum != 0).then_some(sum)
    }

    /// Adds a block; returns whether it was missing before.
    pub fn set(&mut self, number: u32, new: u64) -> bool {
        if let Blocks::One { sum, uses } = self {
            if number == 0 {
                return std::mem::replace(sum, new) == 0;
            }
            let mut many = Many::default();
            if *sum != 0 {
                let first = Extent {
                    sums: vec![*sum],
                    count: 1,
                    uses: *uses,
                };
                many.memory += NODE + first.sums.capacity() * 8;
                many.count = 1;
                many.extents.insert(0, first);
            }
            *self = Blocks::Many(Box::new(many));
        }
        let Blocks::Many(many) = self else {
            return false;
        };
        let extent = many.extents.entry(number / EXTENT).or_insert_with(|| {
            many.memory += NODE;
            Extent::default()
        });
        let at = (number % EXTENT) as usize;
        if extent.sums.len() <= at {
            many.memory -= extent.sums.capacity() * 8;
            extent.sums.resize(at + 1, 0);
            many.memory += extent.sums.capacity() * 8;
        }
        let is_new = std::mem::replace(&mut extent.sums[at], new) == 0;
        extent.count += u16::from(is_new);
        many.count += u32::from(is_new);
        is_new
    }

    /// Removes blocks; returns those that were present.
    pub fn clear(&mut self, part: Range<u32>) -> Vec<u32> {
        let gone: Vec<u32> = self.within(part).map(|(number, _)| number).collect();
        for &number in &gone {
            match self {
                Blocks::One { sum, .. } => *sum = 0,
                Blocks::Many(many) => {
                    let Some(extent) = many.extents.get_mut(&(number / EXTENT)) else {
                        continue;
                    };
                    extent.sums[(number % EXTENT) as usize] = 0;
                    extent.count -= 1;
                    many.count -= 1;
                    if extent.count == 0 {
                        many.memory -= NODE + extent.sums.capacity() * 8;
                        many.extents.remove(&(number / EXTENT));
                    }
                }
            }
        }
        gone
    }

    /// Whether there are no blocks.
    pub fn is_empty(&self) -> bool {
        match self {
            Blocks::One { sum, .. } => *sum == 0,
            Blocks::Many(many) => many.extents.is_empty(),
        }
    }

    /// Number of blocks.
    pub fn total(&self) -> u32 {
        match self {
            Blocks::One { sum, .. } => u32::from(*sum != 0),
            Blocks::Many(many) => many.count,
        }
    }

    /// Number of blocks in an extent.
    pub fn count(&self, extent: u32) -> u32 {
        match self {
            Blocks::One { sum, .. } => u32::from(extent == 0 && *sum != 0),
            Blocks::Many(many) => {
                let extent = many.extents.get(&extent);
                extent.map_or(0, |extent| u32::from(extent.count))
            }
        }
    }

    /// The blocks of `part` with their checksums, in order.
    pub fn within(&self, part: Range<u32>) -> impl Iterator<Item = (u32, u64)> + '_ {
        let (one, many) = match self {
            Blocks::One { sum, .. } => (Some((0, *sum)), None),
            Blocks::Many(many) => (None, Some(&many.extents)),
        };
        let extents = part.start / EXTENT..=part.end / EXTENT;
        let many = many
            .into_iter()
            .flat_map(move |of| of.range(extents.clone()));
        let many = many.flat_map(|(&extent, of)| {
            let sums = of.sums.iter().enumerate();
            sums.map(move |(at, &sum)| (extent * EXTENT + at as u32, sum))
        });
        let all = one.into_iter().chain(many);
        all.filter(move |(number, sum)| part.contains(number) && *sum != 0)
    }

    /// Counts a use of an extent.
    pub fn mark_used(&mut self, extent: u32) {
        if let Some(uses) = self.uses(extent) {
            *uses = (*uses + 1).min(MOST_USES);
        }
    }

    /// Whether an extent was used since it was last checked; takes one use off.
    pub fn take_use(&mut self, extent: u32) -> bool {
        match self.uses(extent) {
            Some(uses) if *uses > 0 => {
                *uses -= 1;
                true
            }
            _ => false,
        }
    }

    fn uses(&mut self, extent: u32) -> Option<&mut u8> {
        match self {
            Blocks::One { uses, .. } => (extent == 0).then_some(uses),
            Blocks::Many(many) => {
                let extent = many.extents.get_mut(&extent);
                extent.map(|extent| &mut extent.uses)
            }
        }
    }

    /// Memory used in addition to the value itself, in bytes.
    pub fn memory(&self) -> usize {
        match self {
            Blocks::One { .. } => 0,
            Blocks::Many(many) => size_of::<Many>() + many.memory,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_blocks_of_a_small_body_take_16_bytes() {
        assert_eq!(size_of::<Blocks>(), 16);
        let mut blocks = Blocks::default();
        assert!(blocks.set(0, 5) && !blocks.set(0, 6));
        assert_eq!((blocks.get(0), blocks.memory()), (Some(6), 0));
    }

    #[test]
    fn the_last_block_of_a_body_may_be_short() {
        assert_eq!(len(0, Some(10)), 10);
        assert_eq!(len(1, Some(BLOCK + 1)), 1);
        assert_eq!(len(0, Some(BLOCK + 1)), BLOCK);
        assert_eq!(len(1, Some(BLOCK)), 0);
        assert_eq!(len(9, None), BLOCK);
    }

    proptest! {
        /// Whatever is set and cleared, they agree with a plain map.
        #[test]
        fn they_know_what_a_map_knows(
            steps in proptest::collection::vec((0_u32..700, 1_u32..300, any::<bool>()), 0..60),
        ) {
            let (mut blocks, mut map) = (Blocks::default(), BTreeMap::new());
            for (number, len, sets) in steps {
                if sets {
                    let sum = u64::from(len);
                    prop_assert_eq!(blocks.set(number, sum), map.insert(number, sum).is_none());
                } else {
                    let part = number..number + len;
                    let gone: Vec<_> = map.range(part.clone()).map(|(&number, _)| number).collect();
                    map.retain(|number, _| !part.contains(number));
                    prop_assert_eq!(blocks.clear(part), gone);
                }
                let all: Vec<_> = blocks.within(0..MOST).collect();
                prop_assert_eq!(all, map.clone().into_iter().collect::<Vec<_>>());
                prop_assert_eq!(blocks.is_empty(), map.is_empty());
                prop_assert_eq!(blocks.total() as usize, map.len());
                if map.is_empty() {
                    prop_assert!(blocks.memory() <= size_of::<Many>());
                }
                for extent in 0..4 {
                    let here = map.keys().filter(|&&number| number / EXTENT == extent).count();
                    prop_assert_eq!(blocks.count(extent) as usize, here);
                }
            }
        }
    }
}
