//! How the tree is stored: tiles of 256 hashes (C2SP `tlog-tiles`, height 8).
//!
//! At level 0 a tile's entries are leaf hashes, at level L the roots of the complete tiles of level L - 1. A tile is
//! written once, when it is complete. What has not yet filled a tile needs no storage of its own: at level 0 the records
//! have their leaf hashes, above it the complete tiles below have their roots. So a store keeps, for each complete tile,
//! its hashes *and* its root, and can then answer every [`Read`] with one query.

use std::collections::BTreeMap;

use reeve_types::Digest;

use crate::merkle::{Frontier, perfect_root};
use crate::proof::{Hashes, LeafRange, MissingHash, Subtree, consistency_ranges, inclusion_ranges, subtrees};

/// Hashes in a complete tile.
pub const TILE_WIDTH: usize = 256;
/// Bytes of a complete tile.
pub const TILE_BYTES: usize = TILE_WIDTH * 32;
/// Levels of the tree within one tile.
const TILE_HEIGHT: u32 = 8;
/// A tree of 2^64 leaves has no tile above these levels.
const LEVELS: u8 = 8;

/// The place of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0 for leaf hashes; each level above has one entry for 256 below.
    pub level: u8,
    /// Place within the level, from the left.
    pub index: u64,
}

impl TileId {
    /// The tile's path under a log's address: `tile/0/x001/x234/067`.
    pub fn path(&self) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.push(format!("tile/{}", self.level));
        groups.reverse();
        groups.join("/")
    }
}

/// A complete tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Its place.
    pub id: TileId,
    /// Its 256 hashes, from the left.
    pub hashes: Vec<Digest>,
    /// The root over them: the entry `id.index` of the level above. To be stored beside the hashes.
    pub root: Digest,
}

impl Tile {
    /// The tile's hashes one after another: the form that C2SP serves and the store keeps.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }
}

/// The hashes that stored bytes hold; none when the length is not a multiple of 32.
pub fn hashes_from_bytes(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().copied().map(Digest).collect())
}

/// Something that a store must read to make a proof or to continue a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Read {
    /// The 256 hashes of a complete tile.
    Tile(TileId),
    /// The entries of a level from one place up to, without, another; at most 255, all within the bounds of one tile.
    /// At level 0 these are the leaf hashes of the records with these sequence numbers; at level L the roots of the
    /// tiles of level L - 1 with these indices.
    Entries {
        /// The level.
        level: u8,
        /// The first place.
        from: u64,
        /// The place after the last.
        to: u64,
    },
}

impl Read {
    fn parts(&self) -> (u8, u64, u64) {
        match *self {
            Self::Tile(TileId { level, index }) => {
                let from = index.saturating_mul(TILE_WIDTH as u64);
                (level, from, from.saturating_add(TILE_WIDTH as u64))
            }
            Self::Entries { level, from, to } => (level, from, to),
        }
    }

    /// How many hashes it must bring.
    pub fn count(&self) -> u64 {
        let (_, from, to) = self.parts();
        to.saturating_sub(from)
    }
}

/// How many entries a level has in a tree of a size.
fn entries(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(level) * TILE_HEIGHT).unwrap_or(0)
}

/// What must be read for the inclusion proof of a record in the tree of the first `size` records; none when the record
/// is not in it.
pub fn reads_for_inclusion(index: u64, size: u64) -> Option<Vec<Read>> {
    Some(reads_for(&inclusion_ranges(index, size)?, size))
}

/// What must be read for the consistency proof between two sizes; none when the old one is larger.
pub fn reads_for_consistency(old: u64, new: u64) -> Option<Vec<Read>> {
    Some(reads_for(&consistency_ranges(old, new)?, new))
}

/// What must be read to go on appending to a tree of a size: see [`TiledTree::restore`].
pub fn reads_for_restore(size: u64) -> Vec<Read> {
    (0..LEVELS)
        .filter_map(|level| {
            let to = entries(size, level);
            let from = to - to % TILE_WIDTH as u64;
            (from < to).then_some(Read::Entries { level, from, to })
        })
        .collect()
}

fn reads_for(ranges: &[LeafRange], size: u64) -> Vec<Read> {
    let mut tiles: BTreeMap<(u8, u64), (u64, u64)> = BTreeMap::new();
    for at in ranges.iter().flat_map(|range| subtrees(*range)) {
        let (level, from, to) = entries_of(at);
        let span = tiles.entry((level, from / TILE_WIDTH as u64)).or_insert((from, to));
        *span = (span.0.min(from), span.1.max(to));
    }
    tiles
        .into_iter()
        .map(|((level, index), (from, to))| {
            let complete = index < entries(size, level) / TILE_WIDTH as u64;
            // One entry is cheaper to read alone, complete or not.
            if complete && to - from > 1 {
                Read::Tile(TileId { level, index })
            } else {
                Read::Entries { level, from, to }
            }
        })
        .collect()
}

/// The entries, all of one tile, whose root is the root of a subtree.
fn entries_of(at: Subtree) -> (u8, u64, u64) {
    // At most 7, because a subtree's level is below 64.
    let level = u8::try_from(at.level / TILE_HEIGHT).unwrap_or(u8::MAX);
    let inner = at.level % TILE_HEIGHT;
    let from = at.index << inner;
    (level, from, from + (1 << inner))
}

/// What a store has read for a proof: the answer to the [`Read`]s.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    hashes: BTreeMap<(u8, u64), Digest>,
}

/// A read brought another number of hashes than were asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expected} hashes of the tree were asked for and {found} are stored: verify the log")]
pub struct WrongCount {
    /// How many were asked for.
    pub expected: u64,
    /// How many came.
    pub found: usize,
}

impl Fetched {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what one read brought.
    pub fn insert(&mut self, read: &Read, hashes: &[Digest]) -> Result<(), WrongCount> {
        if usize::try_from(read.count()) != Ok(hashes.len()) {
            return Err(WrongCount { expected: read.count(), found: hashes.len() });
        }
        let (level, from, to) = read.parts();
        self.hashes.extend((from..to).map(|at| (level, at)).zip(hashes.iter().copied()));
        Ok(())
    }
}

impl Hashes for Fetched {
    type Error = MissingHash;

    fn subtree(&self, at: Subtree) -> Result<Digest, MissingHash> {
        let (level, from, to) = entries_of(at);
        let nodes: Vec<Digest> = self.hashes.range((level, from)..(level, to)).map(|(_, hash)| *hash).collect();
        let whole = nodes.len() as u64 == to - from;
        whole.then(|| perfect_root(&nodes)).flatten().ok_or_else(|| at.into())
    }
}

/// A growing tree that says which tiles become complete. It keeps at most 255 hashes for each level.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TiledTree {
    frontier: Frontier,
    /// For each level the entries that have not filled a tile.
    trailing: Vec<Vec<Digest>>,
}

impl TiledTree {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of a size, from what the reads of [`reads_for_restore`] brought.
    pub fn restore(size: u64, fetched: &Fetched) -> Result<Self, MissingHash> {
        let mut trailing = vec![Vec::new(); usize::from(LEVELS)];
        for (level, from, to) in reads_for_restore(size).iter().map(Read::parts) {
            let read = |at| {
                let missing = MissingHash { level: u32::from(level) * TILE_HEIGHT, index: at };
                fetched.hashes.get(&(level, at)).copied().ok_or(missing)
            };
            let hashes = (from..to).map(read).collect::<Result<Vec<_>, _>>()?;
            if let Some(slot) = trailing.get_mut(usize::from(level)) {
                *slot = hashes;
            }
        }
        let peaks: Vec<Digest> = trailing.iter().rev().flat_map(|hashes| peaks_of(hashes)).collect();
        let frontier = Frontier::from_parts(size, peaks).map_err(|_| MissingHash { level: 0, index: size })?;
        while trailing.last().is_some_and(Vec::is_empty) {
            trailing.pop();
        }
        Ok(Self { frontier, trailing })
    }

    /// Adds a leaf by its hash and returns the tiles that it completes, the lowest first; mostly none.
    pub fn append(&mut self, leaf: Digest) -> Vec<Tile> {
        let mut index = self.frontier.append(leaf);
        let mut completed = Vec::new();
        let mut entry = leaf;
        for level in 0..LEVELS {
            let at = usize::from(level);
            if self.trailing.len() <= at {
                self.trailing.push(Vec::with_capacity(TILE_WIDTH));
            }
            let Some(hashes) = self.trailing.get_mut(at) else { break };
            hashes.push(entry);
            if hashes.len() < TILE_WIDTH {
                break;
            }
            let hashes = std::mem::take(hashes);
            let Some(root) = perfect_root(&hashes) else { break };
            index /= TILE_WIDTH as u64;
            completed.push(Tile { id: TileId { level, index }, hashes, root });
            entry = root;
        }
        completed
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root of the tree.
    pub fn root(&self) -> Digest {
        self.frontier.root()
    }

    /// The roots of its perfect subtrees.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }
}

/// The perfect subtrees over fewer than 256 entries, the largest first.
fn peaks_of(mut hashes: &[Digest]) -> Vec<Digest> {
    let mut peaks = Vec::new();
    while let Some(level) = hashes.len().checked_ilog2() {
        let (left, right) = hashes.split_at(1 << level);
        peaks.extend(perfect_root(left));
        hashes = right;
    }
    peaks
}
